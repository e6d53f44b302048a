defmodule LsmIndex.Test.Electric.EtsEqualityIndex do
  @moduledoc """
  A double of the filter's equality index in ETS, which other indexes are to replace.

  It has a row `{{condition_id, field, value}, {type, next_condition_id}}` for each value, and for
  each field the type of the newest value with their number. Values are the same key if they match:
  `1` and `1.0` don't, nor do times written with different precision.
  """

  alias LsmIndex.Test.Electric.{Eval, Filter, WhereCondition}

  @spec add_shape(
          Filter.t(),
          Filter.condition_id(),
          Filter.shape_id(),
          WhereCondition.optimisation(),
          WhereCondition.branch_key()
        ) :: term
  def add_shape(%Filter{} = filter, condition_id, shape_id, %{operation: "="} = where, branch_key) do
    key = {condition_id, where.field, where.value}

    next_condition_id =
      case :ets.lookup(filter.eq_index_table, key) do
        [{_, {_type, next_condition_id}}] -> next_condition_id
        [] -> add_value(filter, key, where.type)
      end

    WhereCondition.add_shape(filter, next_condition_id, shape_id, where.and_where, branch_key)
  end

  @spec remove_shape(
          Filter.t(),
          Filter.condition_id(),
          Filter.shape_id(),
          WhereCondition.optimisation(),
          WhereCondition.branch_key()
        ) :: :ok | :deleted
  def remove_shape(
        %Filter{} = filter,
        condition_id,
        shape_id,
        %{operation: "=", and_where: and_where} = where,
        branch_key
      ) do
    key = {condition_id, where.field, where.value}

    with [{_, {_type, id}}] <- :ets.lookup(filter.eq_index_table, key),
         :deleted <- WhereCondition.remove_shape(filter, id, shape_id, and_where, branch_key) do
      remove_value(filter, key)
    else
      [] -> :deleted
      :ok -> :ok
    end
  end

  @doc "Raises a `RuntimeError` for text that doesn't parse: the caller takes all shapes then."
  @spec affected_shapes(Filter.t(), Filter.condition_id(), Eval.field(), Eval.record()) ::
          MapSet.t(Filter.shape_id())
  def affected_shapes(%Filter{eq_index_table: table} = filter, condition_id, field, record) do
    with [{_, type, _values}] <- :ets.lookup(table, {:type, condition_id, field}),
         {:ok, value} when not is_nil(value) <- parse!(type, field, record),
         [{_, {_type, id}}] <- :ets.lookup(table, {condition_id, field, value}) do
      WhereCondition.affected_shapes(filter, id, record)
    else
      _no_type_or_value -> MapSet.new()
    end
  end

  @spec all_shape_ids(Filter.t(), Filter.condition_id(), Eval.field()) ::
          MapSet.t(Filter.shape_id())
  def all_shape_ids(%Filter{} = filter, condition_id, field) do
    rows = :ets.match(filter.eq_index_table, {{condition_id, field, :_}, {:_, :"$1"}})

    for [id] <- rows, reduce: MapSet.new() do
      ids -> MapSet.union(ids, WhereCondition.all_shape_ids(filter, id))
    end
  end

  # The field's type becomes that of the newest value: values of another type are not found any
  # more, a known fault that is not mended here.
  defp add_value(%{eq_index_table: table} = filter, {condition_id, field, _value} = key, type) do
    id = Filter.next_condition_id(filter)
    WhereCondition.init(filter, id)

    type_key = {:type, condition_id, field}
    :ets.insert(table, {key, {type, id}})
    :ets.update_counter(table, type_key, {3, 1}, {type_key, type, 0})
    :ets.update_element(table, type_key, {2, type})
    id
  end

  defp remove_value(%{eq_index_table: table}, {condition_id, field, _value} = key) do
    type_key = {:type, condition_id, field}
    :ets.delete(table, key)

    case :ets.update_counter(table, type_key, {3, -1}) do
      0 ->
        :ets.delete(table, type_key)
        :deleted

      _left ->
        :ok
    end
  end

  defp parse!(type, field, record) do
    with :error <- Eval.parse(type, record[field]) do
      raise "Could not parse value for field #{inspect(field)} of type #{inspect(type)}"
    end
  end
end
