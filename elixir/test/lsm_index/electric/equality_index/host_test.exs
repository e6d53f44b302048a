defmodule LsmIndex.Electric.EqualityIndex.HostTest do
  # What the adapter asks of the service's modules, and how it is made a module of the service.

  use ExUnit.Case, async: true

  import LsmIndex.Test.Electric.Contract, only: [equality: 1, equality: 2, equality: 3]
  alias LsmIndex.Test.Electric.{Filter, WhereCondition}

  describe "the condition of a value" do
    defmodule Reporting do
      # A filter of nothing but a table, and conditions that tell the process of every call.
      use LsmIndex.Electric.EqualityIndex,
        filter: __MODULE__.Host,
        where_condition: __MODULE__.Host

      defmodule Host do
        def next_condition_id(%{counters_table: _} = filter) when map_size(filter) == 1 do
          send(self(), :next_condition_id)
          Process.get(:next_id, make_ref())
        end

        def init(_filter, id), do: send(self(), {:init, id})

        def add_shape(_filter, id, shape_id, rest, branch),
          do: send(self(), {:add_shape, id, shape_id, rest, branch}) && raise_or(:nonsense)

        def remove_shape(_filter, id, shape_id, rest, branch),
          do:
            send(self(), {:remove_shape, id, shape_id, rest, branch}) &&
              Process.get(:removed, :ok)

        def affected_shapes(_filter, id, record),
          do: send(self(), {:affected_shapes, id, record}) && MapSet.new([{:in, id}])

        def all_shape_ids(_filter, id),
          do: send(self(), {:all_shape_ids, id}) && MapSet.new([{:of, id}])

        defp raise_or(answer),
          do: if(Process.get(:failing), do: raise("out of order"), else: answer)
      end
    end

    setup do
      %{filter: %{counters_table: :ets.new(:counters, [:private])}}
    end

    defp calls do
      receive do: (call -> [call | calls()]), after: (0 -> [])
    end

    test "is made for the first shape with a rest, and always given the shape", %{filter: filter} do
      for id <- [7, make_ref(), "id", {1, 2}, [1]] do
        Process.put(:next_id, id)
        where = %{equality(1, :rest) | field: id}
        Reporting.add_shape(filter, :c, :a, where, [:left])
        assert calls() == [:next_condition_id, {:init, id}, {:add_shape, id, :a, :rest, [:left]}]
        Reporting.add_shape(filter, :c, :b, where, [])
        Reporting.add_shape(filter, :c, :b, where, [])
        assert calls() == [{:add_shape, id, :b, :rest, []}, {:add_shape, id, :b, :rest, []}]
        # The shapes themselves are not asked for.
        Reporting.add_shape(filter, :c, :c, %{where | and_where: nil}, [])
        assert calls() == []

        record = %{id => "1"}
        assert Reporting.affected_shapes(filter, :c, id, record) == MapSet.new([:c, {:in, id}])
        assert calls() == [{:affected_shapes, id, record}]
        assert Reporting.affected_shapes(filter, :c, id, %{id => "2"}) == MapSet.new()
        assert Reporting.all_shape_ids(filter, :c, id) == MapSet.new([:c, {:of, id}])
        assert calls() == [{:all_shape_ids, id}]

        assert Reporting.remove_shape(filter, :c, :a, where, [:left]) == :ok
        assert calls() == [{:remove_shape, id, :a, :rest, [:left]}]
        Process.put(:removed, :deleted)
        assert Reporting.remove_shape(filter, :c, :b, where, []) == :ok
        assert calls() == [{:remove_shape, id, :b, :rest, []}]
        # Of one that was deleted it is not asked again.
        assert Reporting.remove_shape(filter, :c, :b, where, []) == :ok
        assert Reporting.affected_shapes(filter, :c, id, record) == MapSet.new([:c])
        assert Reporting.all_shape_ids(filter, :c, id) == MapSet.new([:c])
        assert Reporting.remove_shape(filter, :c, :c, %{where | and_where: nil}, []) == :deleted
        assert calls() == []
        Process.delete(:removed)
      end
    end

    test "is one for constants that are equal in SQL", %{filter: filter} do
      Process.put(:next_id, 1)

      for {value, id} <- [{1, :a}, {1.0, :b}],
          do: Reporting.add_shape(filter, :c, id, equality(value, :rest, :numeric), [])

      assert calls() == [
               :next_condition_id,
               {:init, 1},
               {:add_shape, 1, :a, :rest, []},
               {:add_shape, 1, :b, :rest, []}
             ]
    end

    test "is kept if it fails, and asked again", %{filter: filter} do
      Process.put(:next_id, 1)
      Process.put(:failing, true)

      assert_raise RuntimeError, fn ->
        Reporting.add_shape(filter, :c, :a, equality(1, :rest), [])
      end

      Process.delete(:failing)
      calls()
      Reporting.add_shape(filter, :c, :a, equality(1, :rest), [])
      assert calls() == [{:add_shape, 1, :a, :rest, []}]
    end
  end

  describe "options" do
    test "are checked when the module is made" do
      host = [filter: Filter, where_condition: WhereCondition]

      for {options, message} <- [
            {[], ~r/needs filter:, a module/},
            {[filter: Filter], ~r/needs where_condition:, a module/},
            {host ++ [bogus: 1], ~r/bogus/},
            {host ++ [keys: :bogus], ~r/keys: must be :canonical or :exact/},
            {host ++ [keys: :exact], ~r/keys: :exact takes a parser:/},
            {host ++ [parser: :bogus], ~r/parser: must be {module, function}/}
          ] do
        source = "defmodule Bad, do: use LsmIndex.Electric.EqualityIndex, #{inspect(options)}"
        assert_raise ArgumentError, message, fn -> Code.eval_string(source) end
      end
    end

    test "of the index are handed on" do
      defmodule Narrow do
        use LsmIndex.Electric.EqualityIndex,
          filter: LsmIndex.Test.Electric.Filter,
          where_condition: LsmIndex.Test.Electric.WhereCondition,
          index: [num_lanes: 2]
      end

      filter = Filter.new(equality_index: Narrow)
      Narrow.add_shape(filter, 1, :a, equality(1), [])
      assert [{_, %{index: index}}] = :ets.lookup(filter.counters_table, LsmIndex)
      assert index.num_lanes == 2
    end
  end
end
