defmodule LsmIndex.Electric.EqualityIndexTest do
  # The contract of the sync service's equality index, sentence by sentence: what is found.

  use LsmIndex.Test.Electric.Contract, async: true

  alias LsmIndex.Test.Electric.{ExactEqualityIndex, LsmEqualityIndex}

  for index <- [LsmEqualityIndex, ExactEqualityIndex] do
    describe "#{inspect(index)}:" do
      setup do: calls(unquote(index))

      test "nil is listed, and never found", c do
        c.add.(:plain, equality(nil), [])
        c.add.(:nested, equality(nil, @nested), [])
        c.add.(:text, equality(nil, nil, :text), [])
        assert c.all.() == [:nested, :plain, :text]

        for text <- [nil, "", "NULL", "null", <<0>>],
            do: assert(c.find.(%{"id" => text, "n" => "5"}) == [])

        c.add.(:empty, equality("", nil, :text), [])
        c.add.(:zero, equality(<<0>>, nil, :text), [])
        assert c.find.(%{"id" => "", "n" => "5"}) == [:empty]
        assert c.find.(%{"id" => <<0>>, "n" => "5"}) == [:zero]
        assert c.find.(%{"id" => nil}) == []

        for {id, where} <- [
              plain: equality(nil),
              nested: equality(nil, @nested),
              text: equality(nil, nil, :text),
              empty: equality("", nil, :text)
            ],
            do: assert(c.remove.(id, where, []) == :ok)

        assert c.remove.(:zero, equality(<<0>>, nil, :text), []) == :deleted
      end

      test "nothing is found for nil, a missing field, or where no type is known",
           %{index: index} = c do
        assert c.find.(%{"id" => "not parsed"}) == []
        c.add.(:a, equality(1), [])

        for record <- [%{"id" => nil}, %{}, %{id: "1"}, %{"ID" => "1"}],
            do: assert(c.find.(record) == [])

        assert index.affected_shapes(c.filter, @other_condition, "id", %{"id" => "one"}) ==
                 MapSet.new()

        assert index.affected_shapes(c.filter, @condition, "n", %{"n" => "one"}) == MapSet.new()
        assert c.remove.(:a, equality(1), []) == :deleted
        assert c.find.(%{"id" => "not parsed"}) == []
        assert index.affected_shapes(new_filter(index), 1, "id", %{"id" => "1"}) == MapSet.new()
        assert index.all_shape_ids(new_filter(index), 1, "id") == MapSet.new()
      end

      test "text that doesn't parse raises, with the field and the newest type",
           %{index: index} = c do
        raises = fn field, record, message ->
          assert_raise RuntimeError, message, fn ->
            index.affected_shapes(c.filter, @condition, field, record)
          end

          many = [{field, record}]

          assert_raise RuntimeError, message, fn ->
            index.affected_shapes_many(c.filter, @condition, many)
          end
        end

        c.add.(:a, equality(1), [])

        for text <- ["one", "", "1.5", "9223372036854775808", String.duplicate("9", 100_000)],
            do:
              raises.(
                "id",
                %{"id" => text},
                ~S(Could not parse value for field "id" of type :int8)
              )

        array = %{equality([1], nil, {:array, :int8}) | field: :f}
        c.add.(:b, array, [])
        raises.(:f, %{f: "{1,x}"}, ~S(Could not parse value for field :f of type {:array, :int8}))

        c.add.(:c, equality(true, nil, :bool), [])
        raises.("id", %{"id" => "one"}, ~S(Could not parse value for field "id" of type :bool))
        c.add.(:c, equality(1), [])
        raises.("id", %{"id" => "one"}, ~S(Could not parse value for field "id" of type :int8))
        c.add.(:d, equality("e", nil, {:enum, "x"}), [])
        assert c.find.(%{"id" => "one"}) == []
      end

      test "types under one field find their shapes side by side", c do
        c.add.(:int, equality(1), [])
        c.add.(:text, equality("1", nil, :text), [])
        c.add.(:nested, equality("1", @nested, :text), [])
        c.add.(:enum, equality("b", nil, {:enum, "e"}), [])
        assert c.find.(%{"id" => "1", "n" => "5"}) == [:int, :nested, :text]
        assert c.find.(%{"id" => "1"}) == [:int, :text]
        assert c.find.(%{"id" => "b"}) == [:enum]
        assert c.find.(%{"id" => "c"}) == []
        assert c.all.() == [:enum, :int, :nested, :text]
        assert c.remove.(:text, equality("1", nil, :text), []) == :ok
        assert c.find.(%{"id" => "1", "n" => "5"}) == [:int, :nested]
        assert c.remove.(:nested, equality("1", @nested, :text), []) == :ok
        assert c.remove.(:enum, equality("b", nil, {:enum, "e"}), []) == :ok
        assert c.find.(%{"id" => "1"}) == [:int]
        assert c.remove.(:int, equality(1), []) == :deleted
        # The types are gone with the last.
        c.add.(:int, equality(1), [])
        assert_raise RuntimeError, fn -> c.find.(%{"id" => "b"}) end
      end

      test "types that are not read natively are the parser's", c do
        c.add.(:ab, equality(["a", nil, "b"], nil, {:array, :text}), [])
        c.add.(:empty, equality([], nil, {:array, :text}), [])
        assert c.find.(%{"id" => "{a,NULL,b}"}) == [:ab]
        assert c.find.(%{"id" => "{}"}) == [:empty]
        assert c.find.(%{"id" => "{a}"}) == []
        assert_raise RuntimeError, fn -> c.find.(%{"id" => "{a"}) end
      end

      test "types are any terms", c do
        types = [
          {:enum, "e"},
          [:int8],
          ["a", :list],
          [],
          %{a: 1},
          "text",
          1,
          {:array, {:enum, "e"}}
        ]

        for {type, n} <- Enum.with_index(types) do
          field = "f#{n}"
          value = if match?({:array, _}, type), do: ["x"], else: "x"
          text = if match?({:array, _}, type), do: "{x}", else: "x"
          c.add.(:first, %{equality(value, nil, type) | field: field}, [])
          find = fn -> c.index.affected_shapes(c.filter, @condition, field, %{field => text}) end

          many = fn ->
            c.index.affected_shapes_many(c.filter, @condition, [{field, %{field => text}}])
          end

          assert {type, find.()} == {type, MapSet.new([:first])}
          assert many.() == [MapSet.new([:first])]
          c.add.(:second, %{equality("1", nil, {:enum, "other"}) | field: field}, [])
          c.add.(:first, %{equality(value, nil, type) | field: field}, [])
          assert {type, find.()} == {type, MapSet.new([:first])}
          assert many.() == [MapSet.new([:first])]
        end
      end

      test "conditions and fields are any terms, kept apart", %{index: index} = c do
        terms = [
          1,
          2,
          1.0,
          nil,
          "id",
          :id,
          {1, "id"},
          make_ref(),
          self(),
          [],
          %{a: 1},
          2 ** 70,
          "" | [String.duplicate("x", 30_000)]
        ]

        for condition <- terms, field <- terms do
          where = %{equality(1) | field: field}
          index.add_shape(c.filter, condition, {condition, field}, where, [])

          index.add_shape(
            c.filter,
            condition,
            {:nested, condition, field},
            %{where | and_where: @nested},
            []
          )
        end

        for condition <- terms, field <- terms do
          ids = MapSet.new([{condition, field}, {:nested, condition, field}])
          record = Map.put(%{"n" => "5"}, field, "1")
          assert index.affected_shapes(c.filter, condition, field, record) == ids
          assert index.affected_shapes_many(c.filter, condition, [{field, record}]) == [ids]
          assert index.all_shape_ids(c.filter, condition, field) == ids
        end

        for condition <- terms, field <- terms do
          where = %{equality(1) | field: field}
          assert index.remove_shape(c.filter, condition, {condition, field}, where, []) == :ok
          nested = %{where | and_where: @nested}

          assert index.remove_shape(c.filter, condition, {:nested, condition, field}, nested, []) ==
                   :deleted
        end

        assert [{LsmIndex, _handle}] = rows(c.filter)
      end

      test "shape ids are any terms", c do
        ids = [
          1,
          1.0,
          nil,
          true,
          "65273128-1756219000000000",
          {:a, []},
          {1},
          [],
          [1],
          %{},
          make_ref(),
          self(),
          fn -> 1 end,
          String.duplicate("x", 30_000)
        ]

        for id <- ids, where <- [equality(1), equality(2, @nested)], do: c.add.(id, where, [])
        assert c.find.(%{"id" => "1"}) == Enum.sort(ids)
        assert c.find.(%{"id" => "2", "n" => "5"}) == Enum.sort(ids)
        assert c.all.() == Enum.sort(ids)
        for id <- ids, do: assert(c.remove.(id, equality(1), []) == :ok)
        for id <- tl(ids), do: assert(c.remove.(id, equality(2, @nested), []) == :ok)
        assert c.remove.(hd(ids), equality(2, @nested), []) == :deleted
      end

      test "values can be longer than a key", c do
        texts =
          for size <- [65_533, 65_534, 65_535, 200_000],
              last <- ["a", "b"],
              do: String.duplicate("x", size) <> last

        for {text, n} <- Enum.with_index(texts), do: c.add.(n, equality(text, nil, :text), [])

        for {text, n} <- Enum.with_index(texts),
            do: c.add.({n}, equality(text, @nested, :text), [])

        for {text, n} <- Enum.with_index(texts) do
          assert c.find.(%{"id" => text, "n" => "5"}) == [n, {n}]
          assert c.remove.(n, equality(text, nil, :text), []) == :ok
          assert c.find.(%{"id" => text, "n" => "5"}) == [{n}]
        end

        assert c.find.(%{"id" => String.duplicate("x", 65_536)}) == []
      end

      test "thousands of shapes under one value, and thousands of values", c do
        for n <- 1..3_000, do: c.add.(n, equality(1), [])
        for n <- 1..3_000, do: c.add.({n}, equality(n), [])
        for n <- 1..3_000, do: c.add.([n], equality(n, @nested), [])
        assert c.find.(%{"id" => "1"}) == Enum.to_list(1..3_000) ++ [{1}]
        assert c.find.(%{"id" => "7", "n" => "5"}) == [{7}, [7]]
        assert c.all.() == Enum.sort(for n <- 1..3_000, id <- [n, {n}, [n]], do: id)
        for n <- 1..3_000, do: assert(c.remove.(n, equality(1), []) == :ok)
        assert c.find.(%{"id" => "1"}) == [{1}]
      end

      test "other conditions, fields and filters are counted for themselves",
           %{index: index} = c do
        other_filter = new_filter(index)
        c.add.(:a, equality(1), [])
        c.add.(:b, %{equality(1) | field: "n"}, [])
        index.add_shape(c.filter, @other_condition, :c, equality(1), [])
        index.add_shape(other_filter, @condition, :d, equality(1), [])
        assert c.find.(%{"id" => "1"}) == [:a]
        assert c.remove.(:a, equality(1), []) == :deleted
        assert c.all.() == []
        assert index.all_shape_ids(c.filter, @condition, "n") == MapSet.new([:b])
        assert index.all_shape_ids(c.filter, @other_condition, "id") == MapSet.new([:c])
        assert index.all_shape_ids(other_filter, @condition, "id") == MapSet.new([:d])
      end

      test "many answers are those of each, in order", %{index: index} = c do
        for n <- 1..600, type <- [:int8, :text, {:enum, "e"}] do
          value = if type == :int8, do: rem(n, 20), else: "#{rem(n, 20)}"
          # The last field has several types.
          for field <- ["#{inspect(type)}", "mixed"] do
            where = %{equality(value, Enum.at([nil, @nested], rem(n, 2)), type) | field: field}
            index.add_shape(c.filter, @condition, {n, type}, where, [])
          end
        end

        fields = [":int8", ":text", "{:enum, \"e\"}", "mixed", "unknown"]

        for size <- [0, 1, 10, 3_000] do
          questions =
            for _ <- 1..size//1 do
              field = Enum.random(fields)
              text = Enum.random([nil | Enum.map(0..25, &"#{&1}")])

              record =
                Enum.random([
                  %{field => text, "n" => "5"},
                  %{field => text, "n" => "?"},
                  %{"n" => "5"}
                ])

              {field, record}
            end

          expected =
            for {field, record} <- questions,
                do: index.affected_shapes(c.filter, @condition, field, record)

          assert index.affected_shapes_many(c.filter, @condition, questions) == expected

          # One of them raises for all, as it alone does.
          bad = List.insert_at(questions, div(size, 2), {":int8", %{":int8" => "one"}})

          assert_raise RuntimeError,
                       ~S(Could not parse value for field ":int8" of type :int8),
                       fn ->
                         index.affected_shapes_many(c.filter, @condition, bad)
                       end
        end
      end
    end
  end
end
