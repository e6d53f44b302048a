defmodule LsmIndex.Test.Electric.OldFilter do
  @moduledoc """
  A double of the sync service's filter as of September 2025: a value, made of values.

  As in the original, adding a shape first makes a whole condition for it, which is thrown away when
  the table has one.
  """

  alias LsmIndex.Test.Electric.{Eval, MapEqualityIndex, OldWhereCondition}

  require Logger

  @enforce_keys [:new_index]
  defstruct [:new_index, tables: %{}, shapes: %{}]

  @type t :: %__MODULE__{
          new_index: OldWhereCondition.new_index(),
          tables: %{optional(term) => OldWhereCondition.t()},
          shapes: %{optional(term) => {table :: term, Eval.where()}}
        }

  @doc """
  Makes an empty filter. `:new_index` makes an equality index of a type, which the original has
  compiled in.
  """
  @spec new(new_index: OldWhereCondition.new_index()) :: t
  def new(options \\ []),
    do: %__MODULE__{new_index: Keyword.get(options, :new_index, &MapEqualityIndex.new/1)}

  @spec add_shape(t, shape_id :: term, table :: term, Eval.where()) :: t
  def add_shape(%__MODULE__{} = filter, shape_id, table, where) do
    if is_map_key(filter.shapes, shape_id), do: raise("duplicate shape #{inspect(shape_id)}")

    add = &OldWhereCondition.add_shape(&1, shape_id, where)
    thrown_away_if_there_is_one = add.(OldWhereCondition.new(filter.new_index))

    %{
      filter
      | tables: Map.update(filter.tables, table, thrown_away_if_there_is_one, add),
        shapes: Map.put(filter.shapes, shape_id, {table, where})
    }
  end

  @doc "Removes the shape. There must be one."
  @spec remove_shape(t, shape_id :: term) :: t
  def remove_shape(%__MODULE__{} = filter, shape_id) do
    {{table, where}, shapes} = Map.pop!(filter.shapes, shape_id)

    condition =
      filter.tables |> Map.fetch!(table) |> OldWhereCondition.remove_shape(shape_id, where)

    tables =
      if OldWhereCondition.empty?(condition),
        do: Map.delete(filter.tables, table),
        else: Map.put(filter.tables, table, condition)

    %{filter | tables: tables, shapes: shapes}
  end

  @doc "The shapes that the record may be in; all of them when something goes wrong."
  @spec affected_shapes(t, table :: term, Eval.record()) :: MapSet.t()
  def affected_shapes(%__MODULE__{} = filter, table, record) do
    case filter.tables do
      %{^table => condition} ->
        OldWhereCondition.affected_shapes(condition, record, filter.shapes)

      _no_shapes ->
        MapSet.new()
    end
  rescue
    error ->
      Logger.error("all shapes are affected: " <> Exception.format(:error, error, __STACKTRACE__))
      all_shape_ids(filter)
  end

  @doc "All shapes, by what the indexes tell."
  @spec all_shape_ids(t) :: MapSet.t()
  def all_shape_ids(%__MODULE__{} = filter) do
    for {_table, condition} <- filter.tables, reduce: MapSet.new() do
      ids -> MapSet.union(ids, OldWhereCondition.all_shape_ids(condition))
    end
  end
end
