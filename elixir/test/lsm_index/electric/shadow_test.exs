defmodule LsmIndex.Electric.ShadowTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias LsmIndex.Test.Electric.{
    EtsEqualityIndex,
    Eval,
    Filter,
    Random,
    ShadowedForgetfulIndex,
    ShadowedIndex
  }

  defp one(field, type, value, and_where \\ nil),
    do: %{operation: "=", field: field, type: type, value: value, and_where: and_where}

  defp forgetful do
    filter = Filter.new(equality_index: ShadowedForgetfulIndex)
    1 = Filter.next_condition_id(filter)
    filter
  end

  defp add(filter, id, optimisation),
    do: ShadowedForgetfulIndex.add_shape(filter, 1, id, optimisation, [])

  defp ask(filter, record), do: ShadowedForgetfulIndex.affected_shapes(filter, 1, "id", record)

  test "answers what the index answers, and finds no difference where there is none" do
    plain = Filter.new(equality_index: EtsEqualityIndex)
    shadowed = Filter.new(equality_index: ShadowedIndex)

    log =
      capture_log(fn ->
        for n <- 1..400 do
          where = Random.where()
          for filter <- [plain, shadowed], do: Filter.add_shape(filter, n, "t", where)

          if n > 40 do
            for filter <- [plain, shadowed], do: Filter.remove_shape(filter, n - 40)
          end

          for record <- [Random.record(), Random.bad_record()] do
            assert Filter.affected_shapes(shadowed, "t", record) ==
                     Filter.affected_shapes(plain, "t", record)
          end
        end
      end)

    refute log =~ "lsm_index shadow"
    assert %{missing: 0, extra: 0, errors: 0, compared: compared} = ShadowedIndex.report(shadowed)
    assert compared > 500
  end

  test "counts what the shadow misses, and logs once in a while" do
    filter = forgetful()
    for id <- [:a, :b], do: add(filter, id, one("id", :int8, 1))
    Process.put(:fault, &MapSet.put(&1, :c))

    log =
      capture_log(fn ->
        for _ <- 1..3 do
          assert ask(filter, %{"id" => "1"}) == MapSet.new([:a, :b, :c])
        end
      end)

    assert [_before, "missing [:c], extra []" <> _] = String.split(log, ~s(in condition 1: ))
    assert %{compared: 3, missing: 3, extra: 0, errors: 0} = ShadowedForgetfulIndex.report(filter)
  end

  test "counts what only the shadow finds, but not what may be decided by the rest" do
    filter = forgetful()
    add(filter, :a, one("id", :int8, 1))
    add(filter, :b, one("id", :int8, 1, {:eq, "n", :int8, 5}))
    assert ask(filter, %{"id" => "1", "n" => "5"}) == MapSet.new([:a, :b])
    assert ask(filter, %{"id" => "1", "n" => "6"}) == MapSet.new([:a])
    # The conditions below compare too.
    assert %{compared: 4, missing: 0, extra: 0, errors: 0} = ShadowedForgetfulIndex.report(filter)

    Process.put(:fault, fn _found -> MapSet.new() end)
    log = capture_log(fn -> ask(filter, %{"id" => "1", "n" => "5"}) end)
    assert log =~ "extra [:b]"
    assert %{compared: 6, missing: 0, extra: 2} = ShadowedForgetfulIndex.report(filter)
  end

  test "finds the routes that ETS misses" do
    filter = Filter.new(equality_index: ShadowedIndex)
    Filter.add_shape(filter, :a, "t", {:eq, "id", :float8, 1})

    log =
      capture_log(fn ->
        assert Filter.affected_shapes(filter, "t", %{"id" => "1"}) == MapSet.new()
      end)

    assert log =~ ~s(differ about "1" of "id")
    assert Eval.holds?({:eq, "id", :float8, 1}, %{"id" => "1"})
    assert %{extra: 1, missing: 0} = ShadowedIndex.report(filter)
  end

  test "raises what the index raises, and compares that too" do
    filter = forgetful()
    add(filter, :a, one("id", :int8, 1))
    assert_raise RuntimeError, ~r/Could not parse/, fn -> ask(filter, %{"id" => "one"}) end
    assert %{compared: 1, errors: 0} = ShadowedForgetfulIndex.report(filter)

    Process.put(:fault, fn _found -> raise "fault" end)

    assert capture_log(fn ->
             assert_raise RuntimeError, "fault", fn -> ask(filter, %{"id" => "1"}) end
           end) =~ "only the index could not read"

    assert %{compared: 2, errors: 1} = ShadowedForgetfulIndex.report(filter)
  end

  test "keeps what goes wrong in the shadow to itself" do
    filter = forgetful()

    log =
      capture_log(fn ->
        add(filter, :a, one("id", :failing, 1))
        Process.put(:fault, fn _found -> MapSet.new([:b]) end)
        # The index does not know the type either.
        assert_raise RuntimeError, fn -> ask(filter, %{"id" => "1"}) end
        add(filter, self(), one("id", :int8, self()))
      end)

    assert log =~ "lsm_index shadow: cannot be parsed"
    assert %{errors: 2} = ShadowedForgetfulIndex.report(filter)
    assert ShadowedForgetfulIndex.all_shape_ids(filter, 1, "id") == MapSet.new([:a, self()])
  end

  test "logs again after a while, and says how many were not logged" do
    index = LsmIndex.Test.Electric.ShadowedTalkativeIndex
    filter = Filter.new(equality_index: index)
    index.add_shape(filter, 1, :a, one("id", :int8, 1), [])
    Process.put(:fault, fn _found -> MapSet.new() end)
    ask = fn -> index.affected_shapes(filter, 1, "id", %{"id" => "1"}) end

    log =
      capture_log(fn ->
        for _ <- 1..5, do: ask.()
        Process.sleep(250)
        for _ <- 1..2, do: ask.()
      end)

    # However slow this is, some come within the time of another one.
    assert [first, second | _] = Regex.scan(~r/differ about.*/, log) |> List.flatten()
    refute first =~ "not logged"
    assert second =~ ~r/extra \[:a\] \(\d more were not logged\)/
    assert %{extra: 7, missing: 0, compared: 7} = index.report(filter)
  end

  test "keeps what leaves a parser in another way to itself" do
    filter = forgetful()

    log =
      capture_log(fn ->
        add(filter, :a, one("id", :leaving, 1))
        Process.put(:fault, fn _found -> MapSet.new([:b]) end)
        assert_raise RuntimeError, fn -> ask(filter, %{"id" => "1"}) end
      end)

    assert log =~ ":a_ball"
    assert %{errors: 1} = ShadowedForgetfulIndex.report(filter)
  end

  test "nothing is left of what was removed" do
    filter = Filter.new(equality_index: ShadowedIndex)
    where = {:or, {:and, {:eq, "id", :int8, 1}, {:eq, "n", :int8, 2}}, {:eq, "id", :int8, 1}}
    Filter.add_shape(filter, :a, "t", where)
    assert Filter.affected_shapes(filter, "t", %{"id" => "1"}) == MapSet.new([:a])
    Filter.remove_shape(filter, :a)
    kept = for row <- :ets.tab2list(filter.counters_table), do: elem(row, 0)
    tags = [:condition_id, LsmIndex.Electric.Shadow, {LsmIndex.Electric.Shadow, :report}]
    assert Enum.sort(kept) == Enum.sort(tags)
  end
end
