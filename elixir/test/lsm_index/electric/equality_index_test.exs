defmodule LsmIndex.Electric.EqualityIndexTest do
  # The adapter keeps the contract of the sync service's equality index, sentence by sentence, called
  # as the filter does.

  use LsmIndex.Case, async: true

  alias LsmIndex.Native

  alias LsmIndex.Test.Electric.{
    ExactEqualityIndex,
    Filter,
    LsmEqualityIndex,
    WhereCondition
  }

  # The rescues log, as in the original.
  @moduletag :capture_log

  # Conditions that the tests make; those that the filter gives ids to are far from them.
  @condition 1_000
  @other_condition 2_000

  @nested {:eq, "n", :int4, 5}

  defp new_filter(index) do
    filter = Filter.new(equality_index: index)
    for id <- [@condition, @other_condition], do: WhereCondition.init(filter, id)
    filter
  end

  defp equality(value, and_where \\ nil, type \\ :int8),
    do: %{operation: "=", field: "id", type: type, value: value, and_where: and_where}

  # The rows that the adapter has in the filter's own table.
  defp rows(filter),
    do: for({key, _} = row <- :ets.tab2list(filter.counters_table), key != :condition_id, do: row)

  for index <- [LsmEqualityIndex, ExactEqualityIndex] do
    describe "#{inspect(index)}:" do
      setup do
        index = unquote(index)
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

      test "adding again changes nothing", %{filter: filter} = c do
        for where <- [equality(42), equality(42, @nested)], branch <- [[], [:right]] do
          c.add.("shape", where, branch)

          tables =
            for {_, table} when is_reference(table) <- Map.from_struct(filter),
                do: Enum.sort(:ets.tab2list(table))

          c.add.("shape", where, branch)

          again =
            for {_, table} when is_reference(table) <- Map.from_struct(filter),
                do: Enum.sort(:ets.tab2list(table))

          assert again == tables
        end

        for branch <- [[], [:right]] do
          assert c.remove.("shape", equality(42), branch) == :ok
          assert c.find.(%{"id" => "42", "n" => "5"}) == ["shape"]
        end

        assert c.find.(%{"id" => "42", "n" => "6"}) == []
        assert c.remove.("shape", equality(42, @nested), []) == :ok
        assert c.remove.("shape", equality(42, @nested), [:right]) == :deleted
      end

      test "one shape is under one value for each branch", c do
        branches = [[], [:left], [:right], [:left, 0], [1], 0, nil, "branch"]
        for branch <- branches, do: c.add.(:a, equality(1), branch)
        assert {c.find.(%{"id" => "1"}), c.all.()} == {[:a], [:a]}

        for branch <- tl(branches) do
          assert c.remove.(:a, equality(1), branch) == :ok
          # This branch is not there any more.
          assert c.remove.(:a, equality(1), branch) == :ok
          assert {c.find.(%{"id" => "1"}), c.all.()} == {[:a], [:a]}
        end

        assert c.remove.(:a, equality(1), []) == :deleted
        assert {c.find.(%{"id" => "1"}), c.all.()} == {[], []}
      end

      test "shapes with and without a rest live under one value", %{filter: filter} = c do
        c.add.(:nested, equality(1, @nested), [])
        c.add.(:all, equality(1), [])
        c.add.(:other, equality(1, {:other, {:gt, "n", :int4, 4}}), [])
        assert c.find.(%{"id" => "1", "n" => "5"}) == [:all, :nested, :other]
        assert c.find.(%{"id" => "1", "n" => "6"}) == [:all, :other]
        assert c.find.(%{"id" => "1", "n" => "4"}) == [:all]
        assert c.find.(%{"id" => "2", "n" => "5"}) == []
        # What fails below a value stays there.
        assert c.find.(%{"id" => "1", "n" => "?"}) == [:all, :nested, :other]
        assert c.all.() == [:all, :nested, :other]

        assert c.remove.(:nested, equality(1, @nested), []) == :ok
        assert c.remove.(:other, equality(1, {:other, {:gt, "n", :int4, 4}}), []) == :ok
        # The condition of the value is gone with the last that needed it.
        assert [{@condition, _}, {@other_condition, _}] =
                 Enum.sort(:ets.tab2list(filter.where_cond_table))

        assert {c.find.(%{"id" => "1"}), c.all.()} == {[:all], [:all]}

        c.add.(:nested, equality(1, @nested), [])
        assert c.remove.(:all, equality(1), []) == :ok
        assert c.find.(%{"id" => "1", "n" => "5"}) == [:nested]
        assert c.remove.(:nested, equality(1, @nested), []) == :deleted
        assert rows(filter) |> Enum.map(&elem(&1, 0)) == [LsmIndex]
      end

      test "one shape is under one value with and without a rest", c do
        c.add.(:a, equality(1, @nested), [:left])
        c.add.(:a, equality(1), [:right])
        assert c.remove.(:a, equality(1), [:right]) == :ok
        assert c.find.(%{"id" => "1", "n" => "6"}) == []
        assert c.find.(%{"id" => "1", "n" => "5"}) == [:a]
        assert c.remove.(:a, equality(1, @nested), [:left]) == :deleted
      end

      test "only the last value's removal is :deleted", c do
        for {id, value} <- [a: 1, b: 1, c: 2, d: 3] do
          c.add.(id, equality(value), [])
          c.add.(id, equality(value, @nested), [:left])
        end

        for {id, value} <- [a: 1, b: 1, c: 2],
            where <- [equality(value), equality(value, @nested)] do
          branch = if where.and_where, do: [:left], else: []
          assert c.remove.(id, where, branch) == :ok
          assert c.find.(%{"id" => "3"}) == [:d]
        end

        assert c.all.() == [:d]
        assert c.remove.(:d, equality(3), []) == :ok
        assert c.find.(%{"id" => "3", "n" => "5"}) == [:d]
        assert c.remove.(:d, equality(3, @nested), [:left]) == :deleted
      end

      test "removing what is unknown is :deleted if nothing is left of the field, and else :ok",
           c do
        unknown = [equality(2), equality(2, @nested), equality(nil), equality(nil, @nested)]
        for where <- unknown, do: assert(c.remove.(:a, where, []) == :deleted)

        c.add.(:a, equality(1), [])
        for where <- unknown, do: assert(c.remove.(:a, where, []) == :ok)
        # A known value, but not that shape, or not that branch or rest.
        assert c.remove.(:b, equality(1), []) == :ok
        assert c.remove.(:a, equality(1), [:left]) == :ok
        assert c.remove.(:a, equality(1, @nested), []) == :ok
        assert c.find.(%{"id" => "1"}) == [:a]
        assert c.remove.(:a, equality(1), []) == :deleted

        c.add.(:a, equality(1, @nested), [])
        for where <- [equality(1) | unknown], do: assert(c.remove.(:a, where, []) == :ok)
        assert c.remove.(:b, equality(1, @nested), []) == :ok
        assert c.find.(%{"id" => "1", "n" => "5"}) == [:a]
        assert c.remove.(:a, equality(1, @nested), []) == :deleted
        for where <- [equality(1) | unknown], do: assert(c.remove.(:a, where, []) == :deleted)
      end

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

      test "the index goes with the process that owns the filter, or with its table", c do
        index = c.index

        test = self()

        owner =
          spawn(fn ->
            filter = new_filter(index)
            for n <- 1..1_000, do: index.add_shape(filter, 1, n, equality(n), [])
            send(test, {:weak, weak_handle(filter)})
            receive do: (:end -> :ok)
          end)

        assert_receive {:weak, weak}
        assert alive?(weak)
        send(owner, :end)
        await_end(owner)
        eventually(fn -> not alive?(weak) end)

        filter = new_filter(index)
        index.add_shape(filter, 1, 1, equality(1), [])
        weak = weak_handle(filter)
        :ets.delete(filter.counters_table)
        eventually(fn -> :erlang.garbage_collect() && not alive?(weak) end)
      end
    end
  end

  # The binary of a handle brings it back while it lives, and does not keep it alive.
  defp weak_handle(filter) do
    [{_, routes}] = :ets.lookup(filter.counters_table, LsmIndex)
    :erlang.term_to_binary(routes.index.ref)
  end

  defp alive?(weak) do
    in_other_process(fn ->
      try do
        is_integer(Native.count(:erlang.binary_to_term(weak)))
      rescue
        ArgumentError -> false
      end
    end)
  end
end
