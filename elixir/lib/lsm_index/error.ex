defmodule LsmIndex.Error do
  @moduledoc """
  What went wrong: `reason` for programs, `message` for people, `detail` with the values meant.

  Writes return it in `{:error, error}`, reads raise it. The reasons:

  | reason | meaning |
  |---|---|
  | `:closed` | the index was closed, or its owner died |
  | `:not_found` | no such index at the path, or no index started under the name |
  | `:not_started` | the application `:lsm_index` is not running |
  | `:locked` | another process, here or in another VM, has the directory open |
  | `:invalid_option` | an option is unknown or its value is not one of those allowed |
  | `:invalid_argument` | an argument is not what the function takes |
  | `:key_too_long` | a key has more than 65 535 bytes, itself or encoded |
  | `:id_out_of_range` | an id is not in 0..2 147 483 647 |
  | `:mixed_ids` | an index of shapes was given an id from 2^30 on, or one with such ids a shape |
  | `:ids_exhausted` | the index's dictionary of terms is full |
  | `:mismatch` | `num_lanes` or `hash_key` differ from what the index was created with |
  | `:unsupported_version` | a file was written by a format this release does not read |
  | `:corrupt` | a file is damaged |
  | `:too_large` | the index would outgrow what its files can hold |
  | `:mph_construction` | no perfect hash was found for a segment; never seen with a random key |
  | `:io` | the operating system refused a file operation |
  | `:poisoned` | an earlier failure made writing unsafe; open the index again |

      iex> {:error, error} = LsmIndex.open(:memory, num_lanes: 0)
      iex> error.reason
      :invalid_option
      iex> Exception.message(error)
      "option :num_lanes must be an integer from 1 to 16384, got: 0"
  """

  defexception [:reason, :message, detail: %{}]

  @type t :: %__MODULE__{reason: atom, message: String.t(), detail: map}

  @doc false
  @spec new(atom, String.t(), map) :: t
  def new(reason, message, detail \\ %{}) do
    %__MODULE__{reason: reason, message: message, detail: detail}
  end

  @doc false
  @spec from_native({atom, String.t(), map}) :: t
  def from_native({reason, message, detail}), do: new(reason, message, detail)

  @doc false
  @spec wrap(answer | {:error, {atom, String.t(), map}}) :: answer | {:error, t} when answer: term
  def wrap({:error, native}), do: {:error, from_native(native)}
  def wrap(answer), do: answer
end
