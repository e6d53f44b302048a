defmodule LsmIndex.Test.Electric.OldWhereCondition do
  @moduledoc """
  A double of a node of the filter's tree as of September 2025: a value, with an index for each of
  some fields, and other shapes that it evaluates one by one.

  Indexes are made even when one is there already: one that is not needed gets the shape too, and is
  forgotten.
  """

  alias LsmIndex.Test.Electric.{Eval, MapEqualityIndex}
  alias LsmIndex.Test.Electric.OldIndex.Protocol, as: Index

  require Logger

  @enforce_keys [:new_index]
  defstruct [:new_index, indexes: %{}, others: %{}]

  @type new_index :: (Eval.type() -> Index.t())

  @type t :: %__MODULE__{
          new_index: new_index,
          indexes: %{optional(Eval.field()) => Index.t()},
          others: %{optional(term) => Eval.where()}
        }

  @spec new(new_index) :: t
  def new(new_index \\ &MapEqualityIndex.new/1), do: %__MODULE__{new_index: new_index}

  @spec empty?(t) :: boolean
  def empty?(%__MODULE__{} = condition), do: condition.indexes == %{} and condition.others == %{}

  @spec add_shape(t, shape_id :: term, Eval.where()) :: t
  def add_shape(%__MODULE__{} = condition, shape_id, where) do
    case optimise(where) do
      nil ->
        %{condition | others: Map.put(condition.others, shape_id, where)}

      {field, type, value, and_where} ->
        add = &Index.add_shape(&1, value, shape_id, and_where)
        thrown_away_if_there_is_one = add.(condition.new_index.(type))
        indexes = Map.update(condition.indexes, field, thrown_away_if_there_is_one, add)
        %{condition | indexes: indexes}
    end
  end

  @doc "Removes the shape, which must have been added with this clause."
  @spec remove_shape(t, shape_id :: term, Eval.where()) :: t
  def remove_shape(%__MODULE__{} = condition, shape_id, where) do
    case optimise(where) do
      nil ->
        %{condition | others: Map.delete(condition.others, shape_id)}

      {field, _type, value, and_where} ->
        index =
          condition.indexes |> Map.fetch!(field) |> Index.remove_shape(value, shape_id, and_where)

        if Index.empty?(index),
          do: %{condition | indexes: Map.delete(condition.indexes, field)},
          else: %{condition | indexes: Map.put(condition.indexes, field, index)}
    end
  end

  @spec affected_shapes(t, Eval.record(), shapes :: map) :: MapSet.t()
  def affected_shapes(%__MODULE__{} = condition, record, shapes) do
    for {field, index} <- condition.indexes, reduce: others_affected(condition, record) do
      ids -> MapSet.union(ids, Index.affected_shapes(index, field, record, shapes))
    end
  rescue
    error ->
      message = Exception.format(:error, error, __STACKTRACE__)
      Logger.error("all shapes of a condition are affected: " <> message)
      all_shape_ids(condition)
  end

  @spec all_shape_ids(t) :: MapSet.t()
  def all_shape_ids(%__MODULE__{} = condition) do
    for {_field, index} <- condition.indexes, reduce: MapSet.new(Map.keys(condition.others)) do
      ids -> MapSet.union(ids, Index.all_shape_ids(index))
    end
  end

  # A shape whose clause cannot be decided is affected, to be safe.
  defp others_affected(condition, record) do
    for {shape_id, where} <- condition.others,
        Eval.evaluate(where, record) != {:ok, false},
        into: MapSet.new(),
        do: shape_id
  end

  # An equality, alone or on one side of an `AND`, can be indexed; lists of values could not yet.
  defp optimise({:eq, field, type, value}) when not is_nil(value), do: {field, type, value, nil}

  defp optimise({:and, left, right}) do
    case {optimise(left), optimise(right)} do
      {{field, type, value, nil}, _} -> {field, type, value, right}
      {_, {field, type, value, nil}} -> {field, type, value, left}
      _ -> nil
    end
  end

  defp optimise(_where), do: nil
end
