defmodule LsmEqualityIndex.LoadTest do
  use ExUnit.Case, async: true

  alias LsmIndex.{Error, Index}

  defp affected(index, text), do: Index.affected_shapes(index, "id", %{"id" => text}, %{})

  describe "load/2" do
    test "adds what add_shape would have added" do
      index = Index.add_shape(LsmEqualityIndex.new(:uuid), <<1::128>>, "before", nil)
      pairs = for n <- 1..5_000, do: {<<rem(n, 1_000)::128>>, n}
      assert LsmEqualityIndex.load(index, pairs) == {:ok, 5_000}

      one = "00000000-0000-0000-0000-000000000001"
      assert affected(index, one) == MapSet.new(["before", 1, 1_001, 2_001, 3_001, 4_001])
      assert Index.all_shape_ids(index) == MapSet.new(["before" | Enum.to_list(1..5_000)])

      Index.remove_shape(index, <<1::128>>, 2_001, nil)
      assert affected(index, one) == MapSet.new(["before", 1, 1_001, 3_001, 4_001])
    end

    test "refuses other ids and values, and adds nothing then" do
      index = LsmEqualityIndex.new(:int8)

      for {pair, named} <- [{{1, "a"}, "\"a\""}, {{1, 2 ** 30}, "1073741824"}, {{nil, 1}, "nil"}] do
        assert_raise ArgumentError, ~r/#{named}/, fn ->
          LsmEqualityIndex.load(index, [{1, 1}, pair])
        end

        assert Index.empty?(index)
      end
    end

    test "names an element that is no pair, and what is no enumerable" do
      index = LsmEqualityIndex.new(:int8)

      assert_raise ArgumentError, "load takes {value, shape_id}, got: :x", fn ->
        LsmEqualityIndex.load(index, [{1, 1}, :x])
      end

      for other <- [1, fn -> 1 end, {1, 1}, [{1, 1} | :x]] do
        assert {:error, %Error{reason: :invalid_argument} = error} =
                 LsmEqualityIndex.load(index, other)

        assert error.message =~ inspect(other)
      end

      assert Index.empty?(index)
    end
  end
end
