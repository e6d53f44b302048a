defmodule LsmIndex.Reconciler do
  @moduledoc false
  # Names to the engine every route that should be there, adds those that are not, and has it remove
  # the others.

  alias LsmIndex.{Error, Native, Writer}

  # Routes that are named in one call.
  @chunk 1_000

  @type route :: {Native.name(), Native.key(), Native.target()}
  @type counts :: %{
          kept: non_neg_integer,
          added: non_neg_integer,
          removed: non_neg_integer
        }

  @doc "`route` makes a route of an element of `wanted`."
  @spec run(LsmIndex.t(), in_namespaces :: boolean, Enumerable.t(), (term -> route)) ::
          {:ok, counts} | {:error, Error.t()}
  def run(%LsmIndex{ref: ref} = index, in_namespaces, wanted, route) do
    reconciler = ref |> Native.reconcile_begin(in_namespaces) |> ok!()

    try do
      counts =
        wanted
        |> Stream.map(route)
        |> Stream.chunk_every(@chunk)
        |> Enum.reduce(%{kept: 0, added: 0}, &name(index, reconciler, &1, &2))

      {:ok, Map.put(counts, :removed, remove(index, reconciler))}
    after
      Native.reconcile_end(reconciler)
    end
  catch
    {__MODULE__, error} -> {:error, error}
  end

  defp name(index, reconciler, routes, counts) do
    there = reconciler |> Native.reconcile_name(routes) |> ok!()

    routes
    |> Enum.zip(there)
    |> Enum.reduce(counts, fn
      {_route, true}, counts ->
        %{counts | kept: counts.kept + 1}

      {{name, key, target}, false}, counts ->
        # Named twice, it is there the second time.
        case index |> Writer.route(:put, name, key, target, :add_shape) |> ok!() do
          :changed -> %{counts | added: counts.added + 1}
          :unchanged -> %{counts | kept: counts.kept + 1}
        end
    end)
  end

  defp remove(index, reconciler) do
    case reconciler |> Native.reconcile_step(index.durability) |> ok!() do
      :more -> remove(index, reconciler)
      {:done, removed} -> removed
    end
  end

  defp ok!({:error, {:invalid_argument, message, _detail}}), do: raise(ArgumentError, message)
  defp ok!({:error, native}), do: throw({__MODULE__, Error.from_native(native)})
  defp ok!(answer), do: answer
end
