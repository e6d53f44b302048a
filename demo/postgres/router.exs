defmodule Demo.Postgres.Router do
  @moduledoc """
  Which shapes does a record affect? All that the live demo knows of an index is in here.

  A shape is an id and a clause `field = value`; here, each field has an `LsmEqualityIndex`.
  """

  alias LsmIndex.Index

  @opaque t :: %{Index.field() => LsmEqualityIndex.t()}

  @spec new() :: t()
  def new, do: %{}

  @doc "From now on, records with this value are the shape's. `type` is one of `LsmIndex.Postgres`."
  @spec add(t(), Index.shape_id(), Index.field(), type :: atom(), Index.value()) :: t()
  def add(router, shape_id, field, type, value) do
    index = Map.get_lazy(router, field, fn -> LsmEqualityIndex.new(type) end)
    Map.put(router, field, Index.add_shape(index, value, shape_id, nil))
  end

  @doc "Takes back `add/5`; the value may be spelled otherwise."
  @spec remove(t(), Index.shape_id(), Index.field(), type :: atom(), Index.value()) :: t()
  def remove(router, shape_id, field, _type, value) do
    Map.update!(router, field, &Index.remove_shape(&1, value, shape_id, nil))
  end

  @doc "The ids of the shapes that `record`, a row as PostgreSQL prints it, belongs to."
  @spec affected(t(), Index.row()) :: MapSet.t(Index.shape_id())
  def affected(router, record) do
    Enum.reduce(router, MapSet.new(), fn {field, index}, found ->
      MapSet.union(found, Index.affected_shapes(index, field, record, %{}))
    end)
  end
end
