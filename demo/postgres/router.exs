defmodule Demo.Postgres.Router do
  @moduledoc """
  Which shapes does a record affect? All that the live demo knows of an index is in here: it is what
  a filter of the sync service is to its equality index, with one condition.

  A shape is an id and a clause `field = value`.
  """

  defmodule EqualityIndex do
    @moduledoc "The adapter, as a service makes it. Nothing is left of any clause here."

    use LsmIndex.Electric.EqualityIndex,
      filter: Demo.Postgres.Router,
      where_condition: Demo.Postgres.Router
  end

  @condition 1

  @enforce_keys [:counters_table, :fields]
  defstruct @enforce_keys

  @opaque t :: %__MODULE__{counters_table: :ets.table(), fields: %{String.t() => atom()}}

  @type record :: %{String.t() => String.t() | nil}

  @spec new() :: t()
  def new, do: %__MODULE__{counters_table: :ets.new(:counters, [:set, :private]), fields: %{}}

  @doc "From now on, records with this value are the shape's. `type` is one of `LsmIndex.Postgres`."
  @spec add(t(), shape_id :: term(), String.t(), type :: atom(), value :: term()) :: t()
  def add(router, shape_id, field, type, value) do
    EqualityIndex.add_shape(router, @condition, shape_id, clause(field, type, value), [])
    %{router | fields: Map.put(router.fields, field, type)}
  end

  @doc "Takes back `add/5`; the value may be spelled otherwise."
  @spec remove(t(), shape_id :: term(), String.t(), type :: atom(), value :: term()) :: t()
  def remove(router, shape_id, field, type, value) do
    EqualityIndex.remove_shape(router, @condition, shape_id, clause(field, type, value), [])
    router
  end

  @doc "The ids of the shapes that `record`, a row as PostgreSQL prints it, belongs to."
  @spec affected(t(), record()) :: MapSet.t()
  def affected(router, record) do
    asked = for {field, _type} <- router.fields, do: {field, record}

    router
    |> EqualityIndex.affected_shapes_many(@condition, asked)
    |> Enum.reduce(MapSet.new(), &MapSet.union/2)
  end

  defp clause(field, type, value),
    do: %{operation: "=", field: field, type: type, value: value, and_where: nil}
end
