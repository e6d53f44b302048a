defmodule LsmIndex.Test.Electric.WhereCondition do
  @moduledoc """
  A double of a node of the filter's tree of conditions.

  A node has shapes in an equality index for each of some fields, and others that it evaluates one
  by one. The index keeps a node of its own for each value, for what is left of the clauses.

  One shape can be in a node several times, with one part of its clause each: a list of the turns
  taken on the way to that part, the branch key, tells them apart.
  """

  alias LsmIndex.Test.Electric.{Eval, Filter}

  require Logger

  @type branch_key :: [:left | :right | non_neg_integer]

  @typedoc "What an equality index is asked to add or remove."
  @type optimisation :: %{
          operation: String.t(),
          field: Eval.field(),
          type: Eval.type(),
          value: term,
          and_where: Eval.where()
        }

  @doc "Makes an empty node."
  @spec init(Filter.t(), Filter.condition_id()) :: true
  def init(%Filter{} = filter, condition_id), do: put(filter, condition_id, MapSet.new(), %{})

  @spec add_shape(
          Filter.t(),
          Filter.condition_id(),
          Filter.shape_id(),
          Eval.where(),
          branch_key
        ) :: :ok
  def add_shape(%Filter{} = filter, condition_id, shape_id, where, branch_key) do
    case optimise(where) do
      nil ->
        {fields, others} = fetch!(filter, condition_id)
        put(filter, condition_id, fields, Map.put(others, {shape_id, branch_key}, where))

      %{field: field} = optimisation ->
        {fields, others} = fetch!(filter, condition_id)
        put(filter, condition_id, MapSet.put(fields, field), others)
        index = filter.equality_index
        index.add_shape(filter, condition_id, shape_id, optimisation, branch_key)

      {:any, branches} ->
        for {turn, where} <- branches,
            do: add_shape(filter, condition_id, shape_id, where, branch_key ++ [turn])
    end

    :ok
  end

  @doc "Takes back what `add_shape/5` did with the same arguments; an empty node is deleted."
  @spec remove_shape(
          Filter.t(),
          Filter.condition_id(),
          Filter.shape_id(),
          Eval.where(),
          branch_key
        ) :: :ok | :deleted
  def remove_shape(%Filter{} = filter, condition_id, shape_id, where, branch_key) do
    case optimise(where) do
      nil ->
        update(filter, condition_id, fn fields, others ->
          {fields, Map.delete(others, {shape_id, branch_key})}
        end)

      %{field: field} = optimisation ->
        index = filter.equality_index

        # `:deleted` means that nothing is left of the field: it is not asked about any more.
        case index.remove_shape(filter, condition_id, shape_id, optimisation, branch_key) do
          :ok -> :ok
          :deleted -> update(filter, condition_id, &{MapSet.delete(&1, field), &2})
        end

      {:any, branches} ->
        for {turn, where} <- branches,
            do: remove_shape(filter, condition_id, shape_id, where, branch_key ++ [turn])

        update(filter, condition_id, &{&1, &2})
    end
  end

  @doc """
  The shapes of the node that the record may be in. When something goes wrong, they are all of the
  node's.
  """
  @spec affected_shapes(Filter.t(), Filter.condition_id(), Eval.record()) ::
          MapSet.t(Filter.shape_id())
  def affected_shapes(%Filter{} = filter, condition_id, record) do
    {fields, others} = fetch!(filter, condition_id)

    for field <- fields, reduce: others_affected(others, record) do
      ids ->
        index = filter.equality_index
        MapSet.union(ids, index.affected_shapes(filter, condition_id, field, record))
    end
  rescue
    error ->
      message = Exception.format(:error, error, __STACKTRACE__)
      Logger.error("all shapes of a condition are affected: " <> message)
      all_shape_ids(filter, condition_id)
  end

  # A shape whose clause cannot be decided is affected, to be safe.
  defp others_affected(others, record) do
    for {{shape_id, _branch_key}, where} <- others,
        Eval.evaluate(where, record) != {:ok, false},
        into: MapSet.new(),
        do: shape_id
  end

  @doc "All shapes of the node; a node that is gone has none."
  @spec all_shape_ids(Filter.t(), Filter.condition_id()) :: MapSet.t(Filter.shape_id())
  def all_shape_ids(%Filter{} = filter, condition_id) do
    {fields, others} = fetch(filter, condition_id) || {[], %{}}

    for field <- fields, reduce: MapSet.new(others, fn {{id, _branch_key}, _where} -> id end) do
      ids -> MapSet.union(ids, filter.equality_index.all_shape_ids(filter, condition_id, field))
    end
  end

  # What of a clause an equality index can take: nothing (`nil`), one equality of it with the rest,
  # or each of several clauses of which one must hold.
  defp optimise({:eq, field, type, value}) when not is_nil(value),
    do: %{operation: "=", field: field, type: type, value: value, and_where: nil}

  defp optimise({:in, field, type, values}) do
    if values != [] and nil not in values do
      branches = for {value, n} <- Enum.with_index(values), do: {n, {:eq, field, type, value}}
      {:any, branches}
    end
  end

  defp optimise({:or, left, right}) do
    if optimise(left) && optimise(right), do: {:any, left: left, right: right}
  end

  defp optimise({:and, left, right}) do
    case {optimise(left), optimise(right)} do
      {%{} = equality, _} -> %{equality | and_where: both(equality.and_where, right)}
      {_, %{} = equality} -> %{equality | and_where: both(left, equality.and_where)}
      {{:any, values}, _} when elem(left, 0) == :in -> {:any, with_rest(values, right)}
      {_, {:any, values}} when elem(right, 0) == :in -> {:any, with_rest(values, left)}
      _ -> nil
    end
  end

  defp optimise(_where), do: nil

  defp with_rest(branches, rest),
    do: for({n, equality} <- branches, do: {n, both(equality, rest)})

  defp both(nil, where), do: where
  defp both(where, nil), do: where
  defp both(left, right), do: {:and, left, right}

  defp update(filter, condition_id, change) do
    with {fields, others} <- fetch(filter, condition_id),
         {fields, others} = change.(fields, others),
         false <- MapSet.size(fields) == 0 and others == %{} do
      put(filter, condition_id, fields, others)
      :ok
    else
      _gone_or_empty ->
        :ets.delete(filter.where_cond_table, condition_id)
        :deleted
    end
  end

  defp fetch!(filter, condition_id), do: {_fields, _others} = fetch(filter, condition_id)

  defp fetch(filter, condition_id) do
    case :ets.lookup(filter.where_cond_table, condition_id) do
      [{_, {fields, others}}] -> {fields, others}
      [] -> nil
    end
  end

  defp put(filter, condition_id, fields, others),
    do: :ets.insert(filter.where_cond_table, {condition_id, {fields, others}})
end
