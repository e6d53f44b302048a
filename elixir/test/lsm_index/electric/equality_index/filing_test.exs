defmodule LsmIndex.Electric.EqualityIndex.FilingTest do
  # The contract of the sync service's equality index, sentence by sentence: shapes come and go.

  use LsmIndex.Test.Electric.Contract, async: true

  alias LsmIndex.Test.Electric.{ExactEqualityIndex, LsmEqualityIndex}

  for index <- [LsmEqualityIndex, ExactEqualityIndex] do
    describe "#{inspect(index)}:" do
      setup do: calls(unquote(index))

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
    end
  end
end
