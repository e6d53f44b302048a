defmodule Demo.EtsRoutes do
  @moduledoc """
  The same job on ETS, laid out as the sync service does it today.

  One table holds `{{condition, field, value}, {type, id}}` per constant and the type of each
  field; `id` names the leaf condition, whose row in a second table holds the shape ids.
  """

  @condition 1

  @type t :: {equality :: :ets.tid(), leaves :: :ets.tid(), [Demo.Shapes.column()]}

  @spec new([Demo.Shapes.column()]) :: t()
  def new(columns) do
    equality = :ets.new(:equality, [:set, :protected])
    leaves = :ets.new(:leaves, [:set, :protected])
    for {field, type} <- columns, do: :ets.insert(equality, {{:type, @condition, field}, type})
    {equality, leaves, columns}
  end

  @spec load(t(), Demo.Shapes.shapes()) :: :ok
  def load(routes, shapes) do
    for {{field, type}, pairs} <- shapes,
        {value, shape_id} <- pairs,
        do: add(routes, field, type, value, shape_id)

    :ok
  end

  @doc "The shapes that `row` belongs to."
  @spec affected(t(), Demo.TestDecoding.row()) :: MapSet.t()
  def affected({_equality, _leaves, columns} = routes, row) do
    Enum.reduce(columns, MapSet.new(), fn {field, _type}, found ->
      MapSet.union(found, affected(routes, field, row))
    end)
  end

  @doc "Bytes for the keys, and for the shape ids that they lead to."
  @spec bytes(t()) :: %{keys: non_neg_integer(), ids: non_neg_integer()}
  def bytes({equality, leaves, _columns}), do: %{keys: size(equality), ids: size(leaves)}

  @spec delete(t()) :: :ok
  def delete({equality, leaves, _columns}) do
    :ets.delete(equality)
    :ets.delete(leaves)
    :ok
  end

  defp add({equality, leaves, _columns}, field, type, value, shape_id) do
    key = {@condition, field, value}

    case :ets.lookup(equality, key) do
      [] ->
        id = :ets.info(leaves, :size)
        :ets.insert(equality, {key, {type, id}})
        :ets.insert(leaves, {id, {[], %{shape_id => nil}}})

      [{_key, {_type, id}}] ->
        [{_id, {indexed, others}}] = :ets.lookup(leaves, id)
        :ets.insert(leaves, {id, {indexed, Map.put(others, shape_id, nil)}})
    end
  end

  defp affected({equality, leaves, _columns}, field, row) do
    with text when is_binary(text) <- row[field],
         [{_key, type}] <- :ets.lookup(equality, {:type, @condition, field}),
         key = {@condition, field, parse(type, text)},
         [{_key, {_type, id}}] <- :ets.lookup(equality, key) do
      [{_id, {_indexed, others}}] = :ets.lookup(leaves, id)
      others |> Map.keys() |> MapSet.new()
    else
      _ -> MapSet.new()
    end
  end

  defp parse(:text, text), do: text
  defp parse(:int4, text), do: String.to_integer(text)
  defp parse(:int8, text), do: String.to_integer(text)

  defp parse(
         :uuid,
         <<a::binary-size(8), ?-, b::binary-size(4), ?-, c::binary-size(4), ?-, d::binary-size(4),
           ?-, e::binary-size(12)>>
       ) do
    Base.decode16!(<<a::binary, b::binary, c::binary, d::binary, e::binary>>, case: :lower)
  end

  defp size(table), do: :ets.info(table, :memory) * :erlang.system_info(:wordsize)
end
