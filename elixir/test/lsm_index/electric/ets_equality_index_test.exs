defmodule LsmIndex.Electric.EtsEqualityIndexTest do
  # The double of the sync service's equality index keeps its contract, sentence by sentence.

  use ExUnit.Case, async: true

  alias LsmIndex.Test.Electric.{EtsEqualityIndex, Eval, Filter, WhereCondition}

  # The rescues log, as in the original.
  @moduletag :capture_log

  # Conditions that the tests make; those that the filter gives ids to are far from them.
  @condition 1_000
  @other_condition 2_000

  defp new_filter do
    filter = Filter.new()
    for id <- [@condition, @other_condition], do: WhereCondition.init(filter, id)
    filter
  end

  defp equality(value, and_where \\ nil, type \\ :int8),
    do: %{operation: "=", field: "id", type: type, value: value, and_where: and_where}

  defp affected(filter, condition_id, record),
    do: EtsEqualityIndex.affected_shapes(filter, condition_id, "id", record)

  defp all_rows(filter) do
    for {name, table} <- Map.from_struct(filter),
        is_reference(table),
        row <- :ets.tab2list(table),
        into: MapSet.new(),
        do: {name, row}
  end

  describe "add_shape" do
    test "gives a new value a condition with the next id, and remembers both and the type" do
      filter = new_filter()
      first = Filter.next_condition_id(filter)
      EtsEqualityIndex.add_shape(filter, @condition, "shape", equality(42), [])

      assert Filter.next_condition_id(filter) == first + 2

      assert MapSet.new(:ets.tab2list(filter.eq_index_table)) ==
               MapSet.new([
                 {{@condition, "id", 42}, {:int8, first + 1}},
                 {{:type, @condition, "id"}, :int8, 1}
               ])

      assert WhereCondition.all_shape_ids(filter, first + 1) == MapSet.new(["shape"])
    end

    test "adds to the condition that a value has, with the rest of the clause and the branch" do
      filter = new_filter()
      rest = {:other, {:gt, "n", :int4, 5}}
      EtsEqualityIndex.add_shape(filter, @condition, "a", equality(42), [])
      next = Filter.next_condition_id(filter)
      EtsEqualityIndex.add_shape(filter, @condition, "b", equality(42, rest), [:left, 3])
      assert Filter.next_condition_id(filter) == next + 1

      [[id]] = :ets.match(filter.eq_index_table, {{@condition, "id", 42}, {:_, :"$1"}})

      assert [{^id, {_no_fields, %{{"a", []} => nil, {"b", [:left, 3]} => ^rest}}}] =
               :ets.lookup(filter.where_cond_table, id)
    end

    test "changes nothing when done again" do
      filter = new_filter()
      EtsEqualityIndex.add_shape(filter, @condition, "shape", equality(42), [:right])
      rows = all_rows(filter)
      EtsEqualityIndex.add_shape(filter, @condition, "shape", equality(42), [:right])
      assert all_rows(filter) == rows
    end
  end

  describe "remove_shape" do
    test "drops a value with its last shape, and is :deleted with the last value only" do
      filter = new_filter()

      for {id, value} <- [a: 1, b: 1, c: 2],
          do: EtsEqualityIndex.add_shape(filter, @condition, id, equality(value), [])

      remove = &EtsEqualityIndex.remove_shape(filter, @condition, &1, equality(&2), [])
      assert remove.(:a, 1) == :ok
      assert affected(filter, @condition, %{"id" => "1"}) == MapSet.new([:b])
      assert remove.(:b, 1) == :ok
      assert :ets.lookup(filter.eq_index_table, {@condition, "id", 1}) == []
      assert affected(filter, @condition, %{"id" => "2"}) == MapSet.new([:c])
      assert remove.(:c, 2) == :deleted

      assert :ets.tab2list(filter.eq_index_table) == []
    end

    test "goes by the branch and the rest of the clause" do
      filter = new_filter()
      nested = {:eq, "n", :int4, 5}
      EtsEqualityIndex.add_shape(filter, @condition, :a, equality(1, nested), [:left])
      EtsEqualityIndex.add_shape(filter, @condition, :a, equality(1), [:right])

      assert EtsEqualityIndex.remove_shape(filter, @condition, :a, equality(1), [:right]) == :ok
      assert affected(filter, @condition, %{"id" => "1", "n" => "6"}) == MapSet.new()
      assert affected(filter, @condition, %{"id" => "1", "n" => "5"}) == MapSet.new([:a])

      assert EtsEqualityIndex.remove_shape(filter, @condition, :a, equality(1, nested), [:left]) ==
               :deleted
    end

    test "is :deleted for an unknown value, whatever is left of the field" do
      filter = new_filter()
      EtsEqualityIndex.add_shape(filter, @condition, :a, equality(1), [])
      assert EtsEqualityIndex.remove_shape(filter, @condition, :a, equality(2), []) == :deleted
      assert affected(filter, @condition, %{"id" => "1"}) == MapSet.new([:a])
    end

    test "counts other fields and other conditions for themselves" do
      filter = new_filter()
      other_field = %{equality(1) | field: "n"}
      EtsEqualityIndex.add_shape(filter, @condition, :a, equality(1), [])
      EtsEqualityIndex.add_shape(filter, @condition, :b, other_field, [])
      EtsEqualityIndex.add_shape(filter, @other_condition, :c, equality(1), [])
      assert EtsEqualityIndex.remove_shape(filter, @condition, :a, equality(1), []) == :deleted
      assert EtsEqualityIndex.all_shape_ids(filter, @condition, "id") == MapSet.new()
      assert EtsEqualityIndex.all_shape_ids(filter, @condition, "n") == MapSet.new([:b])
      assert EtsEqualityIndex.all_shape_ids(filter, @other_condition, "id") == MapSet.new([:c])
    end
  end

  describe "affected_shapes" do
    test "is empty when no type is known, and for nil or a missing field" do
      filter = new_filter()
      assert affected(filter, @condition, %{"id" => "not parsed"}) == MapSet.new()

      EtsEqualityIndex.add_shape(filter, @condition, :a, equality(1), [])
      assert affected(filter, @condition, %{"id" => nil}) == MapSet.new()
      assert affected(filter, @condition, %{}) == MapSet.new()
      assert affected(filter, @other_condition, %{"id" => "1"}) == MapSet.new()

      EtsEqualityIndex.remove_shape(filter, @condition, :a, equality(1), [])
      assert affected(filter, @condition, %{"id" => "not parsed"}) == MapSet.new()
    end

    test "is empty for nil even if that was added" do
      filter = new_filter()
      EtsEqualityIndex.add_shape(filter, @condition, :a, equality(nil), [])
      assert affected(filter, @condition, %{"id" => nil}) == MapSet.new()
      assert EtsEqualityIndex.all_shape_ids(filter, @condition, "id") == MapSet.new([:a])
    end

    test "raises for text that doesn't parse" do
      filter = new_filter()
      EtsEqualityIndex.add_shape(filter, @condition, :a, equality(1), [])

      assert_raise RuntimeError, ~S(Could not parse value for field "id" of type :int8), fn ->
        affected(filter, @condition, %{"id" => "one"})
      end

      enum = %{equality("a", nil, {:enum, "e"}) | field: :f}
      EtsEqualityIndex.add_shape(filter, @condition, :b, enum, [])

      assert_raise RuntimeError,
                   ~S(Could not parse value for field :f of type {:enum, "e"}),
                   fn ->
                     EtsEqualityIndex.affected_shapes(filter, @condition, :f, %{f: "a"})
                   end
    end

    test "asks the value's condition for the rest" do
      filter = new_filter()
      EtsEqualityIndex.add_shape(filter, @condition, :all, equality(1), [])

      EtsEqualityIndex.add_shape(
        filter,
        @condition,
        :nested,
        equality(1, {:eq, "n", :int4, 5}),
        []
      )

      EtsEqualityIndex.add_shape(filter, @condition, :no, equality(2), [])

      assert affected(filter, @condition, %{"id" => "1", "n" => "5"}) ==
               MapSet.new([:all, :nested])

      assert affected(filter, @condition, %{"id" => "1", "n" => "6"}) == MapSet.new([:all])
      assert affected(filter, @condition, %{"id" => "3", "n" => "5"}) == MapSet.new()
      # What fails below a value stays there.
      assert affected(filter, @condition, %{"id" => "1", "n" => "?"}) ==
               MapSet.new([:all, :nested])
    end
  end

  test "all_shape_ids lists those of one condition and field" do
    filter = new_filter()
    EtsEqualityIndex.add_shape(filter, @condition, :a, equality(1), [])
    EtsEqualityIndex.add_shape(filter, @condition, :a, equality(2), [1])
    EtsEqualityIndex.add_shape(filter, @condition, :b, equality(2, {:eq, "id", :int8, 9}), [])
    EtsEqualityIndex.add_shape(filter, @condition, :c, %{equality(2) | field: "n"}, [])
    EtsEqualityIndex.add_shape(filter, @other_condition, :d, equality(2), [])
    assert EtsEqualityIndex.all_shape_ids(filter, @condition, "id") == MapSet.new([:a, :b])
    assert EtsEqualityIndex.all_shape_ids(filter, 3_000, "id") == MapSet.new()
  end

  describe "equality in ETS" do
    test "is stricter than SQL's, so that routes are missed" do
      # Before OTP 27, zeros matched whatever their sign.
      zeros_match = System.otp_release() < "27"

      for {type, constant, text, found?} <- [
            {:float8, 1, "1", false},
            {:float8, 1.0, "1", true},
            {:numeric, 1, "1.00", false},
            {:numeric, 1.0, "1.00", true},
            {:float4, 0.0, "-0", zeros_match},
            {:time, ~T[01:02:03.5], "01:02:03.50", false},
            {:time, ~T[01:02:03.5], "01:02:03.5", true},
            {:timestamp, ~N[2024-02-29 01:02:03], "2024-02-29 01:02:03.0", false},
            {:timestamptz, ~U[2024-02-29 01:02:03.5Z], "2024-02-29 01:02:03.50+00", false},
            {:timestamptz, ~U[2024-02-29 01:02:03.5Z], "2024-02-29 06:32:03.5+05:30", true}
          ] do
        filter = new_filter()
        EtsEqualityIndex.add_shape(filter, @condition, :a, equality(constant, nil, type), [])
        record = %{"id" => text}
        expected = if found?, do: [:a], else: []
        assert {text, affected(filter, @condition, record)} == {text, MapSet.new(expected)}
        assert {text, Eval.holds?({:eq, "id", type, constant}, record)} == {text, true}
      end
    end

    test "has one type a field, the newest value's, so that others are not found any more" do
      filter = new_filter()
      add = &EtsEqualityIndex.add_shape(filter, @condition, &1, &2, [])
      find = fn -> affected(filter, @condition, %{"id" => "1"}) end

      add.(:a, equality(1))
      assert find.() == MapSet.new([:a])
      add.(:b, equality("1", nil, :text))
      assert find.() == MapSet.new([:b])
      # A value that is there already changes no type.
      add.(:c, equality(1))
      assert find.() == MapSet.new([:b])
      # The type stays until the field has no value.
      assert EtsEqualityIndex.remove_shape(filter, @condition, :b, equality("1"), []) == :ok
      assert find.() == MapSet.new()
    end
  end
end
