defmodule LsmIndex.Electric.OldDoublesTest do
  # The doubles of the sync service's filter of September 2025 keep its contract, sentence by
  # sentence.

  use ExUnit.Case, async: true

  alias LsmIndex.Test.Electric.{Eval, MapEqualityIndex, OldFilter, Random, ReportingIndex}
  alias LsmIndex.Test.Electric.OldIndex.Protocol, as: Index

  # The rescues log, as in the original.
  @moduletag :capture_log

  @one {:eq, "id", :int8, 1}

  defp reporting_filter do
    test = self()

    OldFilter.new(
      new_index: &ReportingIndex.new(fn type -> MapEqualityIndex.new(type) end, test, &1)
    )
  end

  defp calls do
    receive do
      {:index, function, arguments} -> [{function, arguments} | calls()]
    after
      0 -> []
    end
  end

  defp affected(filter, record),
    do: filter |> OldFilter.affected_shapes("t", record) |> Enum.sort()

  test "the protocol has five functions" do
    assert Enum.sort(Index.__protocol__(:functions)) ==
             [add_shape: 4, affected_shapes: 4, all_shape_ids: 1, empty?: 1, remove_shape: 4]
  end

  describe "an index" do
    test "is empty without shapes" do
      index = MapEqualityIndex.new(:int8)
      assert Index.empty?(index)
      index = Index.add_shape(index, 1, :a, nil)
      refute Index.empty?(index)
      assert Index.empty?(Index.remove_shape(index, 1, :a, nil))
    end

    test "finds the shapes of a record's value, and of those the ones whose rest holds" do
      rest = {:other, {:gt, "n", :int8, 5}}

      index =
        MapEqualityIndex.new(:int8)
        |> Index.add_shape(1, :a, nil)
        |> Index.add_shape(1, :b, rest)
        |> Index.add_shape(1, :c, {:eq, "n", :int8, 6})
        |> Index.add_shape(2, :d, nil)

      find = &Index.affected_shapes(index, "id", &1, %{a: 0, b: 0, c: 0, d: 0})
      assert find.(%{"id" => "1", "n" => "6"}) == MapSet.new([:a, :b, :c])
      assert find.(%{"id" => "1", "n" => "7"}) == MapSet.new([:a, :b])
      assert find.(%{"id" => "1"}) == MapSet.new([:a])
      assert find.(%{"id" => "3"}) == MapSet.new()
      assert find.(%{"id" => nil}) == MapSet.new()
      assert find.(%{}) == MapSet.new()
      assert Index.all_shape_ids(index) == MapSet.new([:a, :b, :c, :d])

      index = Index.remove_shape(index, 1, :b, rest)
      assert Index.all_shape_ids(index) == MapSet.new([:a, :c, :d])
      assert_raise KeyError, fn -> Index.remove_shape(index, 3, :b, rest) end
    end

    test "raises for text that doesn't parse" do
      index = MapEqualityIndex.new(:int8)

      assert_raise RuntimeError, ~S(Could not parse value for field "id" of type :int8), fn ->
        Index.affected_shapes(index, "id", %{"id" => "one"}, %{})
      end
    end

    test "is a value: one from before a change is as it was" do
      empty = MapEqualityIndex.new(:int8)
      one = Index.add_shape(empty, 1, :a, nil)
      two = Index.add_shape(one, 1, :b, nil)
      without = Index.remove_shape(two, 1, :a, nil)

      for {index, ids} <- [{empty, []}, {one, [:a]}, {two, [:a, :b]}, {without, [:b]}] do
        assert Index.all_shape_ids(index) == MapSet.new(ids)
        assert Index.affected_shapes(index, "id", %{"id" => "1"}, %{}) == MapSet.new(ids)
      end
    end
  end

  describe "the filter" do
    test "makes two indexes and three adds of one add to a field that has an index" do
      filter = OldFilter.add_shape(reporting_filter(), :a, "t", @one)
      # The first shape of a table needs what is made for it.
      assert calls() == [new: [:int8], add_shape: [1, :a, nil]]

      rest = {:other, {:gt, "n", :int8, 5}}
      filter = OldFilter.add_shape(filter, :b, "t", {:and, {:eq, "id", :int8, 2}, rest})
      add = {:add_shape, [2, :b, rest]}
      assert calls() == [{:new, [:int8]}, add, {:new, [:int8]}, add, add]

      assert affected(filter, %{"id" => "1"}) == [:a]
      assert affected(filter, %{"id" => "2", "n" => "6"}) == [:b]
    end

    test "keeps what is thrown away apart from what it keeps" do
      filter = OldFilter.add_shape(reporting_filter(), :a, "t", @one)
      with_b = OldFilter.add_shape(filter, :b, "t", @one)
      assert affected(filter, %{"id" => "1"}) == [:a]
      assert affected(with_b, %{"id" => "1"}) == [:a, :b]
      without = OldFilter.remove_shape(with_b, :a)
      assert affected(without, %{"id" => "1"}) == [:b]
      assert affected(with_b, %{"id" => "1"}) == [:a, :b]
    end

    test "fixes the type of an index by its first shape" do
      filter =
        reporting_filter()
        |> OldFilter.add_shape(:a, "t", @one)
        |> OldFilter.add_shape(:b, "t", {:eq, "id", :text, "1"})

      # The indexes of the other type are the two that were thrown away.
      assert for({:new, [type]} <- calls(), do: type) == [:int8, :text, :text]
      assert affected(filter, %{"id" => "1"}) == [:a]
    end

    test "gives an index the map of all shapes" do
      filter =
        reporting_filter()
        |> OldFilter.add_shape(:a, "t", @one)
        |> OldFilter.add_shape(:b, "u", nil)

      calls()
      record = %{"id" => "1"}
      affected(filter, record)
      shapes = %{a: {"t", @one}, b: {"u", nil}}
      assert calls() == [affected_shapes: ["id", record, shapes]]
    end

    test "takes all shapes of the table when text doesn't parse" do
      filter =
        reporting_filter()
        |> OldFilter.add_shape(:a, "t", @one)
        |> OldFilter.add_shape(:b, "t", {:in, "n", :int8, [1, 2]})
        |> OldFilter.add_shape(:c, "u", @one)

      assert affected(filter, %{"id" => "one"}) == [:a, :b]
      assert {:all_shape_ids, []} in calls()
    end

    test "takes a shape that it cannot decide, and no other for it" do
      filter =
        OldFilter.new()
        |> OldFilter.add_shape(:a, "t", {:in, "n", :int8, [1]})
        |> OldFilter.add_shape(:b, "t", @one)

      assert affected(filter, %{"id" => "2", "n" => "?"}) == [:a]
    end

    test "drops an index that has become empty" do
      filter =
        reporting_filter()
        |> OldFilter.add_shape(:a, "t", @one)
        |> OldFilter.remove_shape(:a)

      assert List.last(calls()) == {:empty?, []}
      assert filter.tables == %{}
      assert_raise KeyError, fn -> OldFilter.remove_shape(filter, :a) end
    end
  end

  test "the filter and the evaluation of every shape find the same, with random clauses" do
    {filter, shapes} =
      for n <- 1..600, reduce: {OldFilter.new(), %{}} do
        {filter, shapes} ->
          {after_change, shapes_after} = Random.change(OldFilter, filter, shapes, n)
          check(after_change, shapes_after)
          # The filter from before still works.
          check(filter, shapes)
          {after_change, shapes_after}
      end

    emptied = Enum.reduce(Map.keys(shapes), filter, &OldFilter.remove_shape(&2, &1))
    assert emptied == OldFilter.new(new_index: emptied.new_index)
  end

  defp check(filter, shapes) do
    ids = MapSet.new(Map.keys(shapes))
    assert OldFilter.all_shape_ids(filter) == ids
    expected = &for {id, where} <- shapes, Eval.holds?(where, &1), into: MapSet.new(), do: id

    record = Random.record()
    assert {record, OldFilter.affected_shapes(filter, "t", record)} == {record, expected.(record)}

    record = Random.bad_record()
    found = OldFilter.affected_shapes(filter, "t", record)
    assert MapSet.subset?(expected.(record), found)
    assert MapSet.subset?(found, ids)
  end
end
