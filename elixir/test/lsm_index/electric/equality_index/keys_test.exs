defmodule LsmIndex.Electric.EqualityIndex.KeysTest do
  # Which constants a text finds in the adapter.

  use ExUnit.Case, async: true

  import LsmIndex.Test.Electric.Contract, only: [equality: 1, equality: 2, equality: 3]
  alias LsmIndex.Test.Electric.{EtsEqualityIndex, ExactEqualityIndex, Filter, LsmEqualityIndex}
  alias LsmIndex.Test.Electric.WhereCondition

  @nested {:eq, "n", :int4, 5}

  defp new_filter(index) do
    filter = Filter.new(equality_index: index)
    for _ <- 1..2, do: WhereCondition.init(filter, Filter.next_condition_id(filter))
    filter
  end

  describe "canonical keys" do
    test "find what is equal in SQL, where ETS misses it" do
      negative_zero = -1 * 0.0

      for {type, constant, text} <- [
            {:float8, 1, "1"},
            {:numeric, 1, "1.00"},
            {:numeric, 1.0, "1"},
            {:numeric, 1.5, "1.500"},
            {:float4, 0.0, "-0"},
            {:float8, negative_zero, "0"},
            {:int8, 1.0, "1"},
            {:time, ~T[01:02:03.5], "01:02:03.50"},
            {:timestamp, ~N[2024-02-29 01:02:03], "2024-02-29 01:02:03.0"},
            {:timestamptz, ~U[2024-02-29 01:02:03.5Z], "2024-02-29 06:32:03.50+05:30"},
            {:uuid, <<0xAB::128>>, "00000000-0000-0000-0000-0000000000AB"},
            {{:array, :float8}, [1, negative_zero, nil], "{1.0,0,NULL}"},
            {{:array, :time}, [~T[01:02:03.5]], "{01:02:03.500}"},
            {{:array, :numeric}, [1.5], "{1.50}"}
          ] do
        filter = new_filter(LsmEqualityIndex)
        LsmEqualityIndex.add_shape(filter, 1, :a, equality(constant, nil, type), [])
        found = LsmEqualityIndex.affected_shapes(filter, 1, "id", %{"id" => text})
        assert {type, text, found} == {type, text, MapSet.new([:a])}
      end
    end

    test "find a numeric by the float that the service makes of a literal" do
      # `price = 0.1234567890123456789` comes as the nearest float, the record's text with all digits.
      for {constant, text} <- [
            {0.12345678901234568, "0.1234567890123456789"},
            {-0.12345678901234568, "-0.1234567890123456789"},
            {9_007_199_254_740_992.0, "9007199254740993.0"},
            {9_007_199_254_740_993, "9007199254740993"},
            {2 ** 70, "1180591620717411303424"},
            {1.0e100, "1" <> String.duplicate("0", 100)},
            {0.1, "0." <> String.duplicate("0", 16) <> "1"},
            {0.1, "0.1" <> String.duplicate("0", 70_000)}
          ] do
        filter = new_filter(LsmEqualityIndex)
        found? = constant != 0.1 or String.starts_with?(text, "0.1")

        for where <- [equality(constant, nil, :numeric), equality(constant, @nested, :numeric)] do
          LsmEqualityIndex.add_shape(filter, 1, where.and_where, where, [])
          # Another type beside it, so that there is a list of them.
          LsmEqualityIndex.add_shape(filter, 2, where.and_where, where, [])
          LsmEqualityIndex.add_shape(filter, 2, :text, equality("a", nil, :text), [])
        end

        record = %{"id" => text, "n" => "5"}
        expected = if found?, do: MapSet.new([nil, @nested]), else: MapSet.new()

        for condition <- [1, 2] do
          found = LsmEqualityIndex.affected_shapes(filter, condition, "id", record)
          assert {text, found} == {text, expected}
          many = LsmEqualityIndex.affected_shapes_many(filter, condition, [{"id", record}])
          assert {text, many} == {text, [expected]}
        end

        where = equality(constant, nil, :numeric)
        assert LsmEqualityIndex.remove_shape(filter, 1, nil, where, []) == :ok
        where = equality(constant, @nested, :numeric)
        assert LsmEqualityIndex.remove_shape(filter, 1, @nested, where, []) == :deleted
      end

      filter = new_filter(LsmEqualityIndex)
      LsmEqualityIndex.add_shape(filter, 1, :a, equality(1, nil, :numeric), [])

      assert_raise RuntimeError, ~S(Could not parse value for field "id" of type :numeric), fn ->
        LsmEqualityIndex.affected_shapes(filter, 1, "id", %{"id" => "one"})
      end
    end

    test "refuse a constant that is none of the type" do
      filter = new_filter(LsmEqualityIndex)

      for where <- [
            equality("one"),
            equality("one", @nested),
            equality(self(), nil, {:enum, "e"})
          ] do
        assert_raise ArgumentError, ~r/no constant of type/, fn ->
          LsmEqualityIndex.add_shape(filter, 1, :a, where, [])
        end
      end

      assert LsmEqualityIndex.all_shape_ids(filter, 1, "id") == MapSet.new()
      assert LsmEqualityIndex.remove_shape(filter, 1, :a, equality("one"), []) == :deleted
      LsmEqualityIndex.add_shape(filter, 1, :a, equality(1), [])
      assert LsmEqualityIndex.remove_shape(filter, 1, :a, equality("one"), []) == :ok
    end
  end

  test "exact keys find what ETS finds" do
    for {type, constant, text, found?} <- [
          {:int8, 1, "1", true},
          {:int8, 1, "01", true},
          {:float8, 1, "1", false},
          {:float8, 1.0, "1", true},
          {:numeric, 1, "1.00", false},
          {:numeric, 1.0, "1.00", true},
          {:numeric, 0.12345678901234568, "0.1234567890123456789", true},
          {:time, ~T[01:02:03.5], "01:02:03.50", false},
          {:time, ~T[01:02:03.5], "01:02:03.5", true},
          {:timestamptz, ~U[2024-02-29 01:02:03.5Z], "2024-02-29 01:02:03.50+00", false},
          {:timestamptz, ~U[2024-02-29 01:02:03.5Z], "2024-02-29 06:32:03.5+05:30", true},
          {:uuid, <<0xAB::128>>, "00000000-0000-0000-0000-0000000000AB", true}
        ],
        index <- [ExactEqualityIndex, EtsEqualityIndex] do
      filter = new_filter(index)
      index.add_shape(filter, 1, :a, equality(constant, nil, type), [])
      found = index.affected_shapes(filter, 1, "id", %{"id" => text})

      assert {index, type, text, MapSet.to_list(found)} ==
               {index, type, text, if(found?, do: [:a], else: [])}
    end
  end
end
