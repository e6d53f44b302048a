defmodule LsmIndex.Names do
  @moduledoc false
  # The indexes started under a name. They are kept in :persistent_term, where a look-up copies
  # nothing and takes some 20 ns; the price, a scan of all processes when a name goes, is paid
  # only when a supervised index stops.

  alias LsmIndex.Error

  @spec register(atom, LsmIndex.t()) :: :ok
  def register(name, index), do: :persistent_term.put({__MODULE__, name}, index)

  @spec unregister(atom) :: :ok
  def unregister(name) do
    :persistent_term.erase({__MODULE__, name})
    :ok
  end

  @doc "The index itself, or the one with that name."
  @spec fetch(LsmIndex.index()) :: {:ok, LsmIndex.t()} | {:error, Error.t()}
  def fetch(%LsmIndex{} = index), do: {:ok, index}

  def fetch(name) when is_atom(name) do
    case :persistent_term.get({__MODULE__, name}, nil) do
      nil -> {:error, not_found(name)}
      index -> {:ok, index}
    end
  end

  @spec fetch!(LsmIndex.index()) :: LsmIndex.t()
  def fetch!(index_or_name) do
    case fetch(index_or_name) do
      {:ok, index} -> index
      {:error, error} -> raise error
    end
  end

  defp not_found(name) do
    Error.new(:not_found, "no index is started under the name #{inspect(name)}", %{name: name})
  end
end
