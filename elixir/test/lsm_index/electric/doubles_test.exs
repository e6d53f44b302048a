defmodule LsmIndex.Electric.DoublesTest do
  # The doubles of the sync service's filter keep its contract, sentence by sentence.

  use ExUnit.Case, async: true

  alias LsmIndex.Test.Electric.{EtsEqualityIndex, Eval, Filter, Random, WhereCondition}

  # The rescues log, as in the original.
  @moduletag :capture_log

  defmodule Reporting do
    # Tells the process of every call, returns nonsense where the contract ignores what is returned,
    # and fails as often as the process was told to.
    alias LsmIndex.Test.Electric.EtsEqualityIndex

    def add_shape(filter, condition_id, shape_id, optimisation, branch_key) do
      call(:add_shape, [filter, condition_id, shape_id, optimisation, branch_key])
      :nonsense
    end

    def remove_shape(filter, condition_id, shape_id, optimisation, branch_key),
      do: call(:remove_shape, [filter, condition_id, shape_id, optimisation, branch_key])

    def affected_shapes(filter, condition_id, field, record),
      do: call(:affected_shapes, [filter, condition_id, field, record])

    def all_shape_ids(filter, condition_id, field),
      do: call(:all_shape_ids, [filter, condition_id, field])

    defp call(function, [_filter | reported] = arguments) do
      send(self(), {function, reported})
      failures = Process.get({:failures, function}, 0)
      Process.put({:failures, function}, max(failures - 1, 0))
      if failures > 0, do: raise("out of order")
      apply(EtsEqualityIndex, function, arguments)
    end
  end

  defp equality(value, and_where \\ nil),
    do: %{operation: "=", field: "id", type: :int8, value: value, and_where: and_where}

  # All rows but the counters, which only grow.
  defp rows(filter) do
    for {name, table} <- Map.from_struct(filter),
        is_reference(table) and name != :counters_table,
        row <- :ets.tab2list(table),
        into: MapSet.new(),
        do: {name, row}
  end

  defp add_all(filter, shapes) do
    for {id, where} <- shapes, do: Filter.add_shape(filter, id, "t", where)
    filter
  end

  defp affected(filter, record),
    do: filter |> Filter.affected_shapes("t", record) |> Enum.sort()

  describe "the filter's struct" do
    test "has no free slot" do
      assert_raise KeyError, fn -> struct!(Filter.new(), lsm_index: :handle) end
    end

    test "has tables that only the process that made it can use" do
      filter = add_all(Filter.new(), a: {:eq, "id", :int8, 1})

      for {_name, table} when is_reference(table) <- Map.from_struct(filter) do
        assert :ets.info(table, :protection) == :private
        assert :ets.info(table, :owner) == self()
      end

      from_elsewhere = fn ->
        assert_raise ArgumentError, fn -> Filter.affected_shapes(filter, "t", %{}) end
      end

      from_elsewhere |> Task.async() |> Task.await()
    end

    test "has a table of counters that takes an index's own rows and leaves them alone" do
      filter = Filter.new()
      :ets.insert(filter.counters_table, {{:lsm_index, 1, "id"}, make_ref(), :int8})
      [row] = :ets.tab2list(filter.counters_table)
      add_all(filter, a: {:eq, "id", :int8, 1}, b: nil)
      Filter.remove_shape(filter, :a)
      assert affected(filter, %{"id" => "?"}) == [:b]
      assert :ets.lookup(filter.counters_table, elem(row, 0)) == [row]
    end
  end

  test "condition ids are positive integers, each given once; an index takes any term" do
    filter = Filter.new()
    other = Filter.new()
    assert for(_ <- 1..3, do: Filter.next_condition_id(filter)) == [1, 2, 3]
    assert Filter.next_condition_id(other) == 1

    reference = make_ref()
    WhereCondition.init(filter, reference)
    EtsEqualityIndex.add_shape(filter, reference, :a, equality(1), [])

    assert EtsEqualityIndex.affected_shapes(filter, reference, "id", %{"id" => "1"}) ==
             MapSet.new([:a])

    assert EtsEqualityIndex.remove_shape(filter, reference, :a, equality(1), []) == :deleted
  end

  test "shape ids are any term" do
    ids = ["65273128-1756219000000000", 1, 1.0, nil, {:a, []}, %{}, make_ref(), self()]
    filter = add_all(Filter.new(), for(id <- ids, do: {id, {:eq, "id", :int8, 1}}))
    assert Filter.affected_shapes(filter, "t", %{"id" => "1"}) == MapSet.new(ids)
    for id <- ids, do: Filter.remove_shape(filter, id)
    assert Filter.all_shape_ids(filter) == MapSet.new()
  end

  describe "a condition" do
    test "gives the index an equality with the rest of the clause, and evaluates all else" do
      eq = &{:eq, &1, :int8, &2}
      gt = {:other, {:gt, "n", :int8, 5}}
      even = {:other, &(&1["n"] == "8")}

      for {where, field, value, rest} <- [
            {eq.("id", 1), "id", 1, nil},
            {{:and, eq.("id", 1), gt}, "id", 1, gt},
            {{:and, even, eq.("id", 1)}, "id", 1, even},
            {{:and, eq.("id", 1), eq.("n", 2)}, "id", 1, eq.("n", 2)},
            {{:and, {:and, gt, eq.("id", 1)}, even}, "id", 1, {:and, gt, even}},
            {{:and, {:in, "n", :int8, [1, 2]}, eq.("id", 1)}, "id", 1, {:in, "n", :int8, [1, 2]}}
          ] do
        filter = add_all(Filter.new(equality_index: Reporting), a: where)

        assert_received {:add_shape, [1, :a, optimisation, []]}
        assert optimisation == %{equality(value, rest) | field: field}
        refute_received {:add_shape, [1 | _]}
        # An equality in the rest is indexed again, in the condition of the value.
        flush()
        assert Filter.all_shape_ids(filter) == MapSet.new([:a])
      end

      for where <- [
            nil,
            gt,
            even,
            {:and, gt, even},
            {:or, eq.("id", 1), gt},
            {:and, {:or, eq.("id", 1), eq.("id", 2)}, gt},
            # Nothing equals nil.
            eq.("id", nil),
            {:in, "id", :int8, [1, nil]},
            {:in, "id", :int8, []}
          ] do
        filter = add_all(Filter.new(equality_index: Reporting), a: where)
        refute_received {:add_shape, _}
        assert Filter.all_shape_ids(filter) == MapSet.new([:a])
        Filter.remove_shape(filter, :a)
        assert Filter.all_shape_ids(filter) == MapSet.new()
      end
    end

    test "ignores what the index returns for an add" do
      filter = add_all(Filter.new(equality_index: Reporting), a: {:eq, "id", :int8, 1})
      assert affected(filter, %{"id" => "1"}) == [:a]
    end

    test "adds a shape once per value of a list, each with the rest" do
      gt = {:other, {:gt, "n", :int8, 5}}
      filter = Filter.new(equality_index: Reporting)
      add_all(filter, a: {:and, gt, {:in, "id", :int8, [1, 2, 2]}})

      for {value, n} <- Enum.with_index([1, 2, 2]) do
        optimisation = equality(value, gt)
        assert_received {:add_shape, [1, :a, ^optimisation, [^n]]}
      end

      refute_received {:add_shape, _}
      assert affected(filter, %{"id" => "2", "n" => "6"}) == [:a]
      assert affected(filter, %{"id" => "2", "n" => "5"}) == []
      assert affected(filter, %{"id" => "3", "n" => "6"}) == []
    end

    test "adds a shape for both sides of an OR that have an equality" do
      left = {:and, {:eq, "id", :int8, 1}, {:eq, "n", :int8, 2}}
      right = {:and, {:eq, "id", :int8, 1}, {:eq, "m", :int8, 3}}
      filter = Filter.new(equality_index: Reporting)
      add_all(filter, a: {:or, left, right}, b: {:eq, "id", :int8, 7})

      assert_received {:add_shape, [1, :a, %{value: 1, and_where: {:eq, "n", :int8, 2}}, [:left]]}

      assert_received {:add_shape,
                       [1, :a, %{value: 1, and_where: {:eq, "m", :int8, 3}}, [:right]]}

      assert affected(filter, %{"id" => "1", "n" => "2"}) == [:a]
      assert affected(filter, %{"id" => "1", "m" => "3"}) == [:a]
      assert affected(filter, %{"id" => "1", "n" => "3", "m" => "2"}) == []
    end

    test "removes a shape whole, so that nothing of it is left" do
      twice = {:in, "id", :int8, [1, 1, 2]}
      filter = add_all(Filter.new(), b: {:eq, "id", :int8, 7})
      before = rows(filter)

      for where <- [twice, {:and, twice, {:eq, "n", :int8, 1}}, {:or, twice, twice}] do
        add_all(filter, a: where)
        Filter.remove_shape(filter, :a)
        assert rows(filter) == before
      end

      assert affected(filter, %{"id" => "7"}) == [:b]
    end

    test "takes a shape that it cannot decide, and no other for it" do
      gt = &{:other, {:gt, &1, :int8, 5}}
      filter = add_all(Filter.new(), a: gt.("n"), b: gt.("m"), c: {:eq, "id", :int8, 1})
      assert affected(filter, %{"id" => "2", "n" => "?", "m" => "5"}) == [:a]
    end

    test "asks no more about a field of which the index says :deleted" do
      {filter, id} = condition_of_two()
      # So an index that forgets a value too early takes the routes of the field's others with it.
      assert WhereCondition.remove_shape(filter, id, :z, {:eq, "id", :int8, 2}, []) == :ok
      assert WhereCondition.affected_shapes(filter, id, %{"id" => "1"}) == MapSet.new([:b])
    end

    test "is deleted with its last shape" do
      {filter, id} = condition_of_two()
      assert WhereCondition.remove_shape(filter, id, :b, nil, []) == :ok
      assert WhereCondition.remove_shape(filter, id, :a, {:eq, "id", :int8, 1}, []) == :deleted
      assert :ets.tab2list(filter.where_cond_table) == []
      assert WhereCondition.all_shape_ids(filter, id) == MapSet.new()
    end

    test "takes all its shapes, and no other's, when the index raises" do
      filter = Filter.new(equality_index: Reporting)
      add_all(filter, a: {:eq, "id", :int8, 1}, b: {:eq, "n", :int8, 1}, c: {:eq, "id", :int8, 2})
      Filter.add_shape(filter, :other_table, "u", {:eq, "id", :int8, 1})
      flush()

      assert affected(filter, %{"id" => "one", "n" => "2"}) == [:a, :b, :c]
      # This is what costs, with a million shapes.
      assert_received {:all_shape_ids, [1, "id"]}
      assert_received {:all_shape_ids, [1, "n"]}
    end
  end

  defp condition_of_two do
    filter = Filter.new()
    id = Filter.next_condition_id(filter)
    WhereCondition.init(filter, id)
    WhereCondition.add_shape(filter, id, :a, {:eq, "id", :int8, 1}, [])
    WhereCondition.add_shape(filter, id, :b, nil, [])
    {filter, id}
  end

  describe "the filter" do
    test "takes all shapes of all tables when a condition cannot tell" do
      filter = Filter.new(equality_index: Reporting)
      add_all(filter, a: {:eq, "id", :int8, 1}, b: {:eq, "id", :int8, 2})
      Filter.add_shape(filter, :other_table, "u", nil)

      Process.put({:failures, :affected_shapes}, 1)
      Process.put({:failures, :all_shape_ids}, 1)
      assert affected(filter, %{"id" => "1"}) == [:a, :b, :other_table]
      assert affected(filter, %{"id" => "1"}) == [:a]
    end

    test "keeps tables apart" do
      filter = Filter.new()
      Filter.add_shape(filter, :a, "t", {:eq, "id", :int8, 1})
      Filter.add_shape(filter, :b, "u", {:eq, "id", :text, "1"})
      record = %{"id" => "1"}
      assert Filter.affected_shapes(filter, "t", record) == MapSet.new([:a])
      assert Filter.affected_shapes(filter, "u", record) == MapSet.new([:b])
      assert Filter.affected_shapes(filter, "v", record) == MapSet.new()
      Filter.remove_shape(filter, :a)
      assert Filter.affected_shapes(filter, "t", record) == MapSet.new()
      assert Filter.all_shape_ids(filter) == MapSet.new([:b])
    end

    test "takes a shape once" do
      filter = add_all(Filter.new(), a: nil)
      assert_raise RuntimeError, "duplicate shape :a", fn -> add_all(filter, a: nil) end
      Filter.remove_shape(filter, :a)
      assert_raise MatchError, fn -> Filter.remove_shape(filter, :a) end
    end
  end

  test "the filter and the evaluation of every shape find the same, with random clauses" do
    filter = Filter.new()

    shapes =
      for n <- 1..1_500, reduce: %{} do
        shapes ->
          shapes = change(filter, shapes, n)
          check(filter, shapes)
          shapes
      end

    for id <- shapes |> Map.keys() |> Enum.shuffle(), do: Filter.remove_shape(filter, id)
    assert rows(filter) == MapSet.new()
  end

  defp change(filter, shapes, n) do
    if map_size(shapes) < 10 or (map_size(shapes) < 60 and Enum.random(1..2) == 1) do
      {table, where} = {Enum.random(["t", "u"]), Random.where()}
      Filter.add_shape(filter, n, table, where)
      Map.put(shapes, n, {table, where})
    else
      {id, _shape} = Enum.random(shapes)
      Filter.remove_shape(filter, id)
      Map.delete(shapes, id)
    end
  end

  defp check(filter, shapes) do
    assert Filter.all_shape_ids(filter) == MapSet.new(Map.keys(shapes))

    of_table = for {id, {"t", where}} <- shapes, do: {id, where}
    expected = &for {id, where} <- of_table, Eval.holds?(where, &1), into: MapSet.new(), do: id

    record = Random.record()
    assert {record, Filter.affected_shapes(filter, "t", record)} == {record, expected.(record)}

    # Where text doesn't parse, more shapes of the table may be found, and none may be missed.
    record = Random.bad_record()
    found = Filter.affected_shapes(filter, "t", record)
    assert MapSet.subset?(expected.(record), found)
    assert MapSet.subset?(found, MapSet.new(of_table, &elem(&1, 0)))
  end

  defp flush do
    receive do: (_ -> flush()), after: (0 -> :ok)
  end
end
