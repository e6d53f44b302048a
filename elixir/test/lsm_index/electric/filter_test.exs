defmodule LsmIndex.Electric.FilterTest do
  # The filter, with the adapter for an index, held against others that must find the same. All is
  # random, and follows from the seed that ExUnit prints.

  use ExUnit.Case, async: true

  alias LsmIndex.Test.Electric.{
    EtsEqualityIndex,
    Eval,
    ExactEqualityIndex,
    Filter,
    LsmEqualityIndex,
    Random
  }

  # The rescues log, as in the original.
  @moduletag :capture_log
  @moduletag timeout: :infinity

  @changes String.to_integer(System.get_env("FILTER_CHANGES", "100000"))

  @tables ["t", "u"]
  @columns Random.all_columns()
  @most_shapes 60

  test "every change is routed to the shapes that it is in, and to no others" do
    filter = Filter.new(equality_index: LsmEqualityIndex)
    counts = %{changes: 0, added: 0, removed: 0, matches: 0, differences: 0}

    {shapes, counts, examples} =
      for n <- 1..@changes//1, reduce: {%{}, counts, []} do
        {shapes, counts, examples} ->
          {shapes, counts} =
            if rem(n, 10) == 1, do: change([filter], shapes, n, counts), else: {shapes, counts}

          check(filter, shapes, counts, examples)
      end

    IO.puts(
      :stderr,
      "#{counts.changes} changes, #{counts.added} shapes added and #{counts.removed} removed, " <>
        "#{counts.matches} matches, #{counts.differences} differences"
    )

    assert {counts.differences, examples} == {0, []}
    assert Filter.all_shape_ids(filter) == MapSet.new(Map.keys(shapes))
    empty([filter], shapes)
  end

  defmodule TinyOverlays do
    # All that is filed goes through segments and merges.
    use LsmIndex.Electric.EqualityIndex,
      filter: LsmIndex.Test.Electric.Filter,
      where_condition: LsmIndex.Test.Electric.WhereCondition,
      index: [num_lanes: 1, compaction_threshold: 1]
  end

  test "so it is while the index compacts all the time" do
    filter = Filter.new(equality_index: TinyOverlays)

    shapes =
      for n <- 1..3_000, reduce: %{} do
        shapes ->
          {shapes, _counts} = change([filter], shapes, n, %{added: 0, removed: 0})
          {table, record} = {Enum.random(@tables), Random.record(@columns)}
          found = Filter.affected_shapes(filter, table, record)
          assert {record, found} == {record, expected(shapes, table, record)}
          assert Filter.all_shape_ids(filter) == MapSet.new(Map.keys(shapes))
          shapes
      end

    empty([filter], shapes)
  end

  test "text that doesn't parse finds too many rather than too few" do
    filter = Filter.new(equality_index: LsmEqualityIndex)

    for n <- 1..1_500, reduce: %{} do
      shapes ->
        {shapes, _counts} = change([filter], shapes, n, %{added: 0, removed: 0})
        record = Random.bad_record(@columns)
        found = Filter.affected_shapes(filter, "t", record)
        assert MapSet.subset?(expected(shapes, "t", record), found)
        assert MapSet.subset?(found, MapSet.new(for {id, {"t", _}} <- shapes, do: id))
        shapes
    end
  end

  test "with exact keys it finds what it finds with ETS, one type a field" do
    filters =
      for index <- [ExactEqualityIndex, EtsEqualityIndex], do: Filter.new(equality_index: index)

    shapes =
      for n <- 1..4_000, reduce: %{} do
        shapes ->
          {shapes, _counts} = change(filters, shapes, n, %{added: 0, removed: 0})
          table = Enum.random(@tables)
          draw = Enum.random([&Random.record/1, &Random.record/1, &Random.bad_record/1])
          record = @columns |> draw.() |> without_negative_zero()
          [exact, ets] = for filter <- filters, do: Filter.affected_shapes(filter, table, record)
          assert {record, exact} == {record, ets}
          [exact, ets] = for filter <- filters, do: Filter.all_shape_ids(filter)
          assert exact == ets
          shapes
      end

    empty(filters, shapes)
  end

  # Before OTP 27, ETS takes 0.0 for -0.0; their bytes differ on every release.
  defp without_negative_zero(record) do
    if System.otp_release() >= "27",
      do: record,
      else:
        for(
          {field, text} <- record,
          into: %{},
          do: {field, text && String.replace_prefix(text, "-0", "0")}
        )
  end

  # Adds a shape or removes one.
  defp change(filters, shapes, n, counts) do
    if map_size(shapes) < 20 or (map_size(shapes) < @most_shapes and Enum.random(1..2) == 1) do
      {table, where} = {Enum.random(@tables), where()}
      for filter <- filters, do: Filter.add_shape(filter, n, table, where)
      {Map.put(shapes, n, {table, where}), %{counts | added: counts.added + 1}}
    else
      {id, _shape} = Enum.random(shapes)
      for filter <- filters, do: Filter.remove_shape(filter, id)
      {Map.delete(shapes, id), %{counts | removed: counts.removed + 1}}
    end
  end

  # Not one that every record matches: they would make most of the matches.
  defp where, do: Random.where(3, @columns) || where()

  defp check(filter, shapes, counts, examples) do
    {table, record} = {Enum.random(@tables), Random.record(@columns)}
    expected = expected(shapes, table, record)
    found = Filter.affected_shapes(filter, table, record)

    counts = %{
      counts
      | changes: counts.changes + 1,
        matches: counts.matches + MapSet.size(expected)
    }

    if found == expected do
      {shapes, counts, examples}
    else
      missed = MapSet.difference(expected, found)
      too_many = MapSet.difference(found, expected)
      different = for id <- MapSet.union(missed, too_many), do: {id, Map.fetch!(shapes, id)}
      counts = %{counts | differences: counts.differences + length(different)}
      example = %{table: table, record: record, missed: missed, different: different}
      {shapes, counts, Enum.take([example | examples], 3)}
    end
  end

  defp expected(shapes, table, record) do
    for {id, {^table, where}} <- shapes, Eval.holds?(where, record), into: MapSet.new(), do: id
  end

  # Nothing is left but what an index needs for the next shape.
  defp empty(filters, shapes) do
    for filter <- filters do
      for {id, _shape} <- shapes, do: Filter.remove_shape(filter, id)
      assert Filter.all_shape_ids(filter) == MapSet.new()

      rows =
        for {_, table} when is_reference(table) <- Map.from_struct(filter),
            row <- :ets.tab2list(table),
            do: elem(row, 0)

      assert Enum.sort(rows) -- [LsmIndex] == [:condition_id]
    end
  end
end
