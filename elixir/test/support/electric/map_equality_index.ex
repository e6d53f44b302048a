defmodule LsmIndex.Test.Electric.MapEqualityIndex do
  @moduledoc """
  A double of the equality index of September 2025: a map from values to conditions, and itself a
  value. An index from before a change is not changed by it.
  """

  alias LsmIndex.Test.Electric.{Eval, OldIndex, OldWhereCondition}

  @enforce_keys [:type]
  defstruct [:type, values: %{}]

  @type t :: %__MODULE__{
          type: Eval.type(),
          values: %{optional(term) => OldWhereCondition.t()}
        }

  @spec new(Eval.type()) :: t
  def new(type), do: %__MODULE__{type: type}

  defimpl OldIndex.Protocol do
    def empty?(index), do: index.values == %{}

    def add_shape(index, value, shape_id, and_where) do
      condition = Map.get_lazy(index.values, value, fn -> OldWhereCondition.new() end)
      put(index, value, OldWhereCondition.add_shape(condition, shape_id, and_where))
    end

    # The value must be there.
    def remove_shape(index, value, shape_id, and_where) do
      condition = Map.fetch!(index.values, value)
      put(index, value, OldWhereCondition.remove_shape(condition, shape_id, and_where))
    end

    def affected_shapes(index, field, record, shapes) do
      case Map.fetch(index.values, parse!(index.type, field, record)) do
        {:ok, condition} -> OldWhereCondition.affected_shapes(condition, record, shapes)
        :error -> MapSet.new()
      end
    end

    def all_shape_ids(index) do
      for {_value, condition} <- index.values, reduce: MapSet.new() do
        ids -> MapSet.union(ids, OldWhereCondition.all_shape_ids(condition))
      end
    end

    defp put(index, value, condition) do
      if OldWhereCondition.empty?(condition),
        do: %{index | values: Map.delete(index.values, value)},
        else: %{index | values: Map.put(index.values, value, condition)}
    end

    defp parse!(type, field, record) do
      case Eval.parse(type, record[field]) do
        {:ok, value} ->
          value

        :error ->
          raise "Could not parse value for field #{inspect(field)} of type #{inspect(type)}"
      end
    end
  end
end
