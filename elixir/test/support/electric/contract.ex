defmodule LsmIndex.Test.Electric.Contract do
  @moduledoc "What the tests of the contract of an equality index share."

  use ExUnit.CaseTemplate

  alias LsmIndex.Test.Electric.{Filter, WhereCondition}

  # Conditions that the tests make; those that the filter gives ids to are far from them.
  @condition 1_000
  @other_condition 2_000

  using do
    quote do
      use LsmIndex.Case
      import LsmIndex.Test.Electric.Contract

      # The rescues log, as in the original.
      @moduletag :capture_log

      @condition unquote(@condition)
      @other_condition unquote(@other_condition)
      @nested {:eq, "n", :int4, 5}
    end
  end

  def new_filter(index) do
    filter = Filter.new(equality_index: index)
    for id <- [@condition, @other_condition], do: WhereCondition.init(filter, id)
    filter
  end

  @doc "A filter, and the functions of its index for one condition and field."
  def calls(index) do
    filter = new_filter(index)

    %{
      index: index,
      filter: filter,
      add: fn id, optimisation, branch ->
        index.add_shape(filter, @condition, id, optimisation, branch)
      end,
      remove: fn id, optimisation, branch ->
        index.remove_shape(filter, @condition, id, optimisation, branch)
      end,
      find: fn record ->
        filter |> index.affected_shapes(@condition, "id", record) |> Enum.sort()
      end,
      all: fn -> filter |> index.all_shape_ids(@condition, "id") |> Enum.sort() end
    }
  end

  def equality(value, and_where \\ nil, type \\ :int8),
    do: %{operation: "=", field: "id", type: type, value: value, and_where: and_where}

  @doc "The rows that the adapter has in the filter's own table."
  def rows(filter),
    do: for({key, _} = row <- :ets.tab2list(filter.counters_table), key != :condition_id, do: row)
end
