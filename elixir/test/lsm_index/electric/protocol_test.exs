defmodule LsmIndex.Electric.ProtocolTest do
  # The filter of September 2025, with indexes of this library.
  use ExUnit.Case, async: true

  alias LsmIndex.Test.Electric.{Eval, LsmOldIndex, OldFilter, Random, ReportingIndex}
  alias LsmIndex.Test.Electric.OldIndex.Protocol, as: Index

  # The rescues log.
  @moduletag :capture_log

  @one {:eq, "id", :int8, 1}

  test "an index answers by the protocol" do
    rest = {:other, {:gt, "n", :int8, 5}}
    index = LsmOldIndex.new(:int8)
    assert Index.empty?(index)

    index =
      index
      |> Index.add_shape(1, :a, nil)
      |> Index.add_shape(1, :b, rest)
      |> Index.add_shape(2, :c, nil)

    find = &Index.affected_shapes(index, "id", &1, %{})
    assert find.(%{"id" => "1", "n" => "6"}) == MapSet.new([:a, :b])
    assert find.(%{"id" => "1", "n" => "5"}) == MapSet.new([:a])
    assert find.(%{"id" => nil}) == MapSet.new()
    assert find.(%{}) == MapSet.new()
    assert Index.all_shape_ids(index) == MapSet.new([:a, :b, :c])

    assert_raise RuntimeError, ~S(Could not parse value for field "id" of type :int8), fn ->
      find.(%{"id" => "one"})
    end

    refute Index.empty?(Index.remove_shape(index, 1, :b, rest))
    index = index |> Index.remove_shape(1, :a, nil) |> Index.remove_shape(2, :c, nil)
    assert Index.empty?(index)
  end

  test "is one index, changed in place" do
    before = LsmOldIndex.new(:int8)
    Index.add_shape(before, 1, :a, nil)
    assert Index.all_shape_ids(before) == MapSet.new([:a])
  end

  test "indexes that are thrown away do not touch those that are kept" do
    test = self()
    new_index = &ReportingIndex.new(fn type -> LsmOldIndex.new(type) end, test, &1)
    filter = OldFilter.new(new_index: new_index)
    filter = OldFilter.add_shape(filter, :a, "t", @one)
    filter = OldFilter.add_shape(filter, :b, "t", {:eq, "id", :int8, 2})
    assert OldFilter.affected_shapes(filter, "t", %{"id" => "1"}) == MapSet.new([:a])
    assert OldFilter.affected_shapes(filter, "t", %{"id" => "2"}) == MapSet.new([:b])
    for _ <- 1..3, do: assert_received({:index, :new, [:int8]})
  end

  test "the filter and the evaluation of every shape find the same, with random clauses" do
    {filter, shapes} =
      for n <- 1..1_500, reduce: {OldFilter.new(new_index: &LsmOldIndex.new/1), %{}} do
        {filter, shapes} ->
          {filter, shapes} = Random.change(OldFilter, filter, shapes, n)
          check(filter, shapes)
          {filter, shapes}
      end

    emptied = Enum.reduce(Map.keys(shapes), filter, &OldFilter.remove_shape(&2, &1))
    assert emptied.tables == %{}
  end

  defp check(filter, shapes) do
    assert OldFilter.all_shape_ids(filter) == MapSet.new(Map.keys(shapes))
    expected = &for {id, where} <- shapes, Eval.holds?(where, &1), into: MapSet.new(), do: id

    record = Random.record()
    assert {record, OldFilter.affected_shapes(filter, "t", record)} == {record, expected.(record)}

    # Where text doesn't parse, more may be found, and none may be missed.
    record = Random.bad_record()
    found = OldFilter.affected_shapes(filter, "t", record)
    assert MapSet.subset?(expected.(record), found)
  end
end
