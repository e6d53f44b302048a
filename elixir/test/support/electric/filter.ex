defmodule LsmIndex.Test.Electric.Filter do
  @moduledoc """
  A double of the filter of Electric's sync service as of August 2026: which shapes does a changed
  row affect?

  Everything is in private ETS tables, so only the process that made a filter can use it.
  """

  alias LsmIndex.Test.Electric.{EtsEqualityIndex, Eval, WhereCondition}

  require Logger

  # As in the original, an equality index finds no slot here for state of its own. It can keep that
  # in counters_table, under keys that nothing else uses.
  @enforce_keys [
    :equality_index,
    :shapes_table,
    :tables_table,
    :where_cond_table,
    :eq_index_table,
    :counters_table
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{equality_index: module}

  @typedoc "A positive integer here; to the equality index, any term."
  @type condition_id :: term

  @type shape_id :: term
  @type table :: term

  @doc """
  Makes an empty filter. `:equality_index` is the module of its equality indexes, which the original
  has compiled in.
  """
  @spec new(equality_index: module) :: t
  def new(options \\ []) do
    %__MODULE__{
      equality_index: Keyword.get(options, :equality_index, EtsEqualityIndex),
      shapes_table: new_table(:filter_shapes),
      tables_table: new_table(:filter_tables),
      where_cond_table: new_table(:filter_where_conditions),
      eq_index_table: new_table(:filter_equality_index),
      counters_table: new_table(:filter_counters)
    }
  end

  @doc "An id that no condition of this filter has had."
  @spec next_condition_id(t) :: pos_integer
  def next_condition_id(%__MODULE__{counters_table: table}),
    do: :ets.update_counter(table, :condition_id, 1, {:condition_id, 0})

  @spec add_shape(t, shape_id, table, Eval.where()) :: t
  def add_shape(%__MODULE__{} = filter, shape_id, table, where) do
    if not :ets.insert_new(filter.shapes_table, {shape_id, table, where}),
      do: raise("duplicate shape #{inspect(shape_id)}")

    WhereCondition.add_shape(filter, condition_of(filter, table), shape_id, where, [])
    filter
  end

  @doc "Removes the shape, all of it. There must be one."
  @spec remove_shape(t, shape_id) :: t
  def remove_shape(%__MODULE__{} = filter, shape_id) do
    [{_, table, where}] = :ets.take(filter.shapes_table, shape_id)
    [{_, condition_id}] = :ets.lookup(filter.tables_table, table)

    if WhereCondition.remove_shape(filter, condition_id, shape_id, where, []) == :deleted,
      do: :ets.delete(filter.tables_table, table)

    filter
  end

  @doc """
  The shapes that the record may be in. Those it is in are always among them: when something goes
  wrong, they are all that there are, of all tables.
  """
  @spec affected_shapes(t, table, Eval.record()) :: MapSet.t(shape_id)
  def affected_shapes(%__MODULE__{} = filter, table, record) do
    case :ets.lookup(filter.tables_table, table) do
      [] -> MapSet.new()
      [{_, condition_id}] -> WhereCondition.affected_shapes(filter, condition_id, record)
    end
  rescue
    error ->
      Logger.error("all shapes are affected: " <> Exception.format(:error, error, __STACKTRACE__))
      all_shape_ids(filter)
  end

  @doc "All shapes, by what the conditions tell."
  @spec all_shape_ids(t) :: MapSet.t(shape_id)
  def all_shape_ids(%__MODULE__{} = filter) do
    for {_table, condition_id} <- :ets.tab2list(filter.tables_table), reduce: MapSet.new() do
      ids -> MapSet.union(ids, WhereCondition.all_shape_ids(filter, condition_id))
    end
  end

  defp condition_of(filter, table) do
    case :ets.lookup(filter.tables_table, table) do
      [{_, condition_id}] ->
        condition_id

      [] ->
        condition_id = next_condition_id(filter)
        WhereCondition.init(filter, condition_id)
        :ets.insert(filter.tables_table, {table, condition_id})
        condition_id
    end
  end

  defp new_table(name), do: :ets.new(name, [:set, :private])
end
