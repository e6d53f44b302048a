defmodule Demo.LsmRoutes do
  @moduledoc """
  The job on LsmIndex: one stored `LsmEqualityIndex` per column.
  """

  alias LsmIndex.Index

  @type t :: [{field :: String.t(), LsmEqualityIndex.t()}]

  @doc "Opens the indexes that are stored below `directory`, or makes them."
  @spec open([Demo.Shapes.column()], Path.t()) :: t()
  def open(columns, directory) do
    for {field, type} <- columns do
      {field, LsmEqualityIndex.new(type, path: Path.join(directory, field))}
    end
  end

  @spec load(t(), Demo.Shapes.shapes()) :: :ok
  def load(routes, shapes) do
    for {{field, _type}, pairs} <- shapes do
      {^field, index} = List.keyfind(routes, field, 0)
      for {value, shape_id} <- pairs, do: Index.add_shape(index, value, shape_id, nil)
    end

    :ok
  end

  @doc "Brings the files to their smallest form."
  @spec compact(t()) :: :ok
  def compact(routes),
    do: Enum.each(routes, fn {_, index} -> :ok = LsmEqualityIndex.compact(index) end)

  @doc "The shapes that `row` belongs to."
  @spec affected(t(), Demo.TestDecoding.row()) :: MapSet.t()
  def affected(routes, row) do
    Enum.reduce(routes, MapSet.new(), fn {field, index}, found ->
      MapSet.union(found, Index.affected_shapes(index, field, row, %{}))
    end)
  end

  @doc "Bytes of memory and mapped files: for the keys, and for the shape ids that they lead to."
  @spec bytes(t()) :: %{keys: non_neg_integer(), ids: non_neg_integer()}
  def bytes(routes) do
    parts = for {_field, index} <- routes, do: LsmEqualityIndex.memory(index)
    ids = parts |> Enum.map(& &1.dictionary) |> Enum.sum()
    total = parts |> Enum.map(& &1.total) |> Enum.sum()
    %{keys: total - ids, ids: ids}
  end

  @spec close(t()) :: :ok
  def close(routes),
    do: Enum.each(routes, fn {_, index} -> :ok = LsmEqualityIndex.close(index) end)
end
