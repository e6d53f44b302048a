defmodule LsmIndex.Options do
  @moduledoc false
  # Checks where an index is and how it shall be opened. `num_lanes` and `hash_key` stay nil when
  # they are not given: a stored index keeps its own, a new one gets 64 lanes and a random key.

  alias LsmIndex.{Error, Names}

  @type t :: %{
          num_lanes: pos_integer | nil,
          compaction_threshold: pos_integer,
          durability: :memory | :os | :sync,
          max_log_bytes: pos_integer,
          recover: :strict | :salvage,
          verify: :full | :fast,
          residency: :mmap | :populate | :mlock | :heap,
          filter: :none | :fuse8 | :bloom,
          hash_key: <<_::128>> | nil
        }

  @type location :: String.t() | :memory

  @max_lanes 16_384
  @max_threshold 2_147_483_647
  @default_lanes 64
  @smallest_log 4_096
  @largest_log 1_099_511_627_776

  @defaults %{
    num_lanes: nil,
    compaction_threshold: 10_000,
    durability: :os,
    max_log_bytes: 67_108_864,
    recover: :strict,
    verify: :full,
    residency: :mmap,
    filter: :none,
    hash_key: nil
  }

  @expected %{
    num_lanes: "an integer from 1 to #{@max_lanes}",
    compaction_threshold: "an integer from 1 to #{@max_threshold}",
    durability: "one of :memory, :os, :sync",
    max_log_bytes: "an integer from #{@smallest_log} to #{@largest_log}",
    recover: "one of :strict, :salvage",
    verify: "one of :full, :fast",
    residency: "one of :mmap, :populate, :mlock, :heap",
    filter: "one of :none, :fuse8, :bloom",
    hash_key: "a binary of 16 bytes",
    name: "an atom",
    progress: "a function of one argument",
    apply: "true or false"
  }

  @doc "Where an index is: `:memory`, or a path that no later change of directory alters."
  @spec location(term) :: {:ok, location} | {:error, Error.t()}
  def location(:memory), do: {:ok, :memory}

  def location(path) do
    if is_binary(path) and path != "" and String.valid?(path) and
         not String.contains?(path, <<0>>) do
      {:ok, Path.expand(path)}
    else
      message = "a path must be a non-empty UTF-8 string without null bytes, or :memory"
      {:error, Error.new(:invalid_argument, "#{message}, got: #{inspect(path)}", %{path: path})}
    end
  end

  @doc "What the NIF wants to know of the options."
  @spec native(t, location) :: map
  def native(options, location) do
    case {location, options.num_lanes} do
      {:memory, nil} -> %{options | num_lanes: @default_lanes}
      _stored_or_given -> options
    end
  end

  @doc "The options of `LsmIndex.start_link/1`: a name and a path, and those of `open/2`."
  @spec start_options(term) :: {:ok, atom, location, t} | {:error, Error.t()}
  def start_options(options) do
    with {:ok, _keyword} <- keyword(options),
         {:ok, name} <- name(Keyword.get(options, :name, LsmIndex)),
         {:ok, path} <- path(options),
         {:ok, location} <- location(path),
         {:ok, options} <- validate(Keyword.drop(options, [:name, :path])) do
      {:ok, name, location, options}
    end
  end

  @doc "An index whose changes have the durability that the options of one call ask for."
  @spec for_call(LsmIndex.index(), term) :: {:ok, LsmIndex.t()} | {:error, Error.t()}
  def for_call(index, options) do
    with {:ok, index} <- Names.fetch(index),
         {:ok, mode} <- one(options, :durability, index.durability) do
      # Without a path there is no log, whatever is asked for.
      if index.path == :memory, do: {:ok, index}, else: {:ok, %{index | durability: mode}}
    end
  end

  @doc "The value of the only option that a call takes, or the default."
  @spec one(term, atom, value) :: {:ok, value} | {:error, Error.t()} when value: term
  def one(options, name, default) do
    with {:ok, options} <- keyword(options), :ok <- only(options, name) do
      {:ok, Keyword.get(options, name, default)}
    end
  end

  defp only(options, name) do
    Enum.find_value(options, :ok, fn
      {^name, value} ->
        case check(name, value) do
          :ok -> nil
          error -> {:error, error}
        end

      {other, value} ->
        {:error, unknown(other, value, [name])}
    end)
  end

  @spec validate(term) :: {:ok, t} | {:error, Error.t()}
  def validate(options) do
    # Of an option given twice the first counts, as everywhere with keywords.
    with {:ok, options} <- keyword(options) do
      options |> Enum.reverse() |> Enum.reduce_while({:ok, @defaults}, &put/2)
    end
  end

  defp keyword(options) do
    if Keyword.keyword?(options) do
      {:ok, options}
    else
      message = "options must be a keyword list, got: #{inspect(options)}"
      {:error, Error.new(:invalid_option, message, %{option: nil, value: options})}
    end
  end

  defp name(name) when is_atom(name) and name not in [nil, true, false], do: {:ok, name}
  defp name(name), do: {:error, invalid(:name, name, inspect(name))}

  defp path(options) do
    with :error <- Keyword.fetch(options, :path) do
      message = "option :path is missing: the index's directory, or :memory"
      {:error, Error.new(:invalid_option, message, %{option: :path, value: nil})}
    end
  end

  defp put({option, value}, {:ok, options}) when is_map_key(options, option) do
    case check(option, value) do
      :ok -> {:cont, {:ok, %{options | option => value}}}
      error -> {:halt, {:error, error}}
    end
  end

  defp put({option, value}, _options) do
    {:halt, {:error, unknown(option, value, Map.keys(@defaults))}}
  end

  defp check(:num_lanes, value) when value in 1..@max_lanes, do: :ok
  defp check(:compaction_threshold, value) when value in 1..@max_threshold, do: :ok
  defp check(:durability, mode) when mode in [:memory, :os, :sync], do: :ok
  defp check(:max_log_bytes, value) when value in @smallest_log..@largest_log, do: :ok
  defp check(:recover, value) when value in [:strict, :salvage], do: :ok
  defp check(:verify, value) when value in [:full, :fast], do: :ok
  defp check(:residency, kind) when kind in [:mmap, :populate, :mlock, :heap], do: :ok
  defp check(:filter, kind) when kind in [:none, :fuse8, :bloom], do: :ok
  defp check(:progress, value) when is_function(value, 1), do: :ok
  defp check(:apply, value) when is_boolean(value), do: :ok

  defp check(:hash_key, <<_::128>>), do: :ok
  defp check(:hash_key, value), do: invalid(:hash_key, :hidden, kind(value))

  defp check(option, value), do: invalid(option, value, inspect(value))

  defp unknown(option, value, known) do
    known = Enum.map_join(known, ", ", &inspect/1)

    Error.new(
      :invalid_option,
      "unknown option #{inspect(option)} (value #{inspect(value)}); known are #{known}",
      %{option: option, value: value}
    )
  end

  defp invalid(option, shown, text) do
    message = "option #{inspect(option)} must be #{@expected[option]}, got: #{text}"
    Error.new(:invalid_option, message, %{option: option, value: shown})
  end

  # The key is a secret: a mistyped one must not end up in a log either.
  defp kind(value) when is_binary(value), do: "a binary of #{byte_size(value)} bytes"
  defp kind(_value), do: "something else"
end
