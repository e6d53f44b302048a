# The equality index of the sync service's filter, in ETS and on LsmIndex, in one run:
#
#     MIX_ENV=prod mix run bench/filter.exs                  # 1 M shapes, int8 and uuid
#     SHAPES=100000 MIX_ENV=prod mix run bench/filter.exs
#
# The ETS side is the double of the service's index in test/support/electric, with its rows: one per
# value, and one of the condition that the value leads to. Both are called as the filter calls them.
# Trust the ratios more than the figures.

Code.require_file("support/measure.exs", __DIR__)
Code.require_file("support/table.exs", __DIR__)

# They know each other, so they are compiled together.
{:ok, _modules, _warnings} =
  ~w(eval where_condition ets_equality_index filter lsm_equality_index)
  |> Enum.map(&Path.expand("../test/support/electric/#{&1}.ex", __DIR__))
  |> Kernel.ParallelCompiler.compile()

defmodule Bench.Filter do
  alias Bench.{Measure, Table}
  alias LsmIndex.Routes
  alias LsmIndex.Routes.Engine
  alias LsmIndex.Test.Electric.{EtsEqualityIndex, Filter, LsmEqualityIndex, WhereCondition}

  @lookups 100_000
  @nested 20_000
  @batch 100

  def run(type, n) do
    # A process of its own, so that nothing of one type burdens the next.
    fn -> measure(type, n) end |> Task.async() |> Task.await(:infinity)
  end

  defp measure(type, n) do
    values = lasting(:values, List.to_tuple(for i <- 1..n, do: value(type, i)))
    handles = lasting(:handles, List.to_tuple(for i <- 1..n, do: handle(i)))
    shapes = {values, handles, type}

    {ets, ets_add} = filled(EtsEqualityIndex, shapes, n)
    {lsm, lsm_add} = filled(LsmEqualityIndex, shapes, n)
    settle(lsm)
    memory = memory_rows(ets, lsm, n)

    count = min(@lookups, n)
    random = fn -> record(type, elem(values, :rand.uniform(n) - 1)) end
    present = lasting(:present, for(_ <- 1..count, do: random.()))
    absent = lasting(:absent, for(i <- 1..count, do: record(type, value(type, n + i))))
    hits = in_turns(ets, lsm, present)
    misses = in_turns(ets, lsm, absent)
    batch = batches(ets, lsm, present)
    nested = nested(type)
    churn = churn(ets, lsm, shapes, n)
    {ets_ids, lsm_ids} = all(ets, lsm, n)
    reopen = reopen(shapes, n)

    Table.print(
      "#{n} shapes, #{type}: microseconds per call, unless said",
      ["", "LsmIndex/ETS", "target", "LsmIndex", "ETS"],
      memory ++
        [
          row("affected, present", hits, "0.50"),
          row("affected, absent", misses, nil),
          row("affected_shapes_many, #{@batch} a call, per record", batch, nil),
          row("affected, nested condition", nested, nil),
          row("add, to the full size", {ets_add, lsm_add}, "1.00"),
          row("add, beside the others", elem(churn, 0), "1.00"),
          row("remove", elem(churn, 1), "1.00"),
          row("all ids, ms", {ets_ids, lsm_ids}, "100 ms"),
          row("all ids without the set, ms", {nil, listing(lsm, n)}, nil),
          row("MapSet.new of that many handles, ms", {nil, set(handles)}, nil),
          row("restart to first routed change, ms", {ets_add * n / 1000, reopen}, "100 ms")
        ]
    )
  end

  # Out of the process's heap, or what is measured is the collector copying it.
  defp lasting(name, term) do
    :persistent_term.put({__MODULE__, name}, term)
    :persistent_term.get({__MODULE__, name})
  end

  defp row(name, {nil, lsm}, target), do: [name, nil, target, lsm, nil]
  defp row(name, {ets, lsm}, target), do: [name, lsm / ets, target, lsm, ets]

  defp value(:int8, i), do: i * 7919
  defp value(:uuid, i), do: :crypto.hash(:md5, <<i::64>>)

  defp text(:int8, value), do: Integer.to_string(value)

  defp text(:uuid, value) do
    <<a::binary-8, b::binary-4, c::binary-4, d::binary-4, e::binary>> =
      Base.encode16(value, case: :lower)

    Enum.join([a, b, c, d, e], "-")
  end

  # 26 bytes, as the service's.
  defp handle(i),
    do: "#{rem(i * 7919, 90_000_000) + 10_000_000}-#{1_700_000_000_000_000 + i * 17}"

  defp record(type, value), do: %{"id" => text(type, value)}

  defp optimisation({values, _handles, type}, i),
    do: %{operation: "=", field: "id", type: type, value: elem(values, i - 1), and_where: nil}

  defp filled(index, {_, handles, _} = shapes, n) do
    filter = Filter.new(equality_index: index)
    Filter.next_condition_id(filter)

    {_, nanoseconds} =
      Measure.once(n, fn ->
        for i <- 1..n,
            do: index.add_shape(filter, 1, elem(handles, i - 1), optimisation(shapes, i), [])

        :ok
      end)

    {filter, nanoseconds / 1000}
  end

  defp routes(filter), do: :ets.lookup_element(filter.counters_table, LsmIndex, 2)

  # What the background does in the end is part of what there is.
  defp settle(filter), do: :ok = LsmIndex.compact(routes(filter).index)

  defp memory_rows(ets, lsm, n) do
    words = fn table -> :ets.info(table, :memory) * :erlang.system_info(:wordsize) end

    tables =
      &(words.(&1.eq_index_table) + words.(&1.where_cond_table) + words.(&1.counters_table))

    memory = LsmIndex.memory(routes(lsm).index)
    routes = memory.total - memory.dictionary
    of_members = 4 * n

    [
      row(
        "memory, bytes per shape",
        {tables.(ets) / n, (memory.total + tables.(lsm)) / n},
        "60 B"
      ),
      row("  routes", {nil, routes / n}, "17 B"),
      row("  handles and their places", {nil, (memory.dictionary - of_members) / n}, nil),
      row("  listing by namespace", {nil, of_members / n}, nil)
    ]
  end

  defp in_turns(ets, lsm, records) do
    subjects = for {name, filter} <- [ets: ets, lsm: lsm], do: {name, asking(filter, records)}
    times = own_turns(subjects, length(records))
    {times.ets, times.lsm}
  end

  defp asking(%{equality_index: index} = filter, records) do
    fn -> Enum.each(records, &index.affected_shapes(filter, 1, "id", &1)) end
  end

  # The tables are this process's: turns as in Bench.Measure, without a process for each.
  defp own_turns(subjects, operations, rounds \\ 5) do
    times =
      for _ <- 1..rounds, {name, fun} <- subjects do
        :erlang.garbage_collect()
        {microseconds, _} = :timer.tc(fun)
        {name, microseconds / operations}
      end

    times
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Map.new(fn {name, figures} -> {name, Measure.median(figures)} end)
  end

  defp batches(ets, lsm, records) do
    batches = records |> Enum.map(&{"id", &1}) |> Enum.chunk_every(@batch)
    batches = lasting(:batches, batches)
    many = fn -> Enum.each(batches, &LsmEqualityIndex.affected_shapes_many(lsm, 1, &1)) end
    times = own_turns([ets: asking(ets, records), lsm: many], length(records))
    {times.ets, times.lsm}
  end

  # `id = 1 AND n = x` of many shapes: one value with a condition of its own for the rest.
  defp nested(type) do
    filters =
      for {name, index} <- [ets: EtsEqualityIndex, lsm: LsmEqualityIndex] do
        filter = Filter.new(equality_index: index)

        for i <- 1..@nested do
          where = {:and, {:eq, "id", type, value(type, 1)}, {:eq, "n", :int8, i}}
          Filter.add_shape(filter, handle(i), "t", where)
        end

        {name, filter}
      end

    record = record(type, value(type, 1))
    records = for i <- 1..@nested, do: Map.put(record, "n", Integer.to_string(i))
    records = lasting(:nested, records)

    subjects =
      for {name, filter} <- filters do
        {name, fn -> Enum.each(records, &WhereCondition.affected_shapes(filter, 1, &1)) end}
      end

    times = own_turns(subjects, @nested)
    {times.ets, times.lsm}
  end

  # Shapes beyond the full size that come and go.
  defp churn(ets, lsm, {_, _, type}, n) do
    count = min(@lookups, n)

    new =
      for i <- (n + 1)..(n + count) do
        value = value(type, i)
        {handle(i), %{operation: "=", field: "id", type: type, value: value, and_where: nil}}
      end

    new = lasting(:new, new)

    times =
      for _ <- 1..3, {name, filter} <- [ets: ets, lsm: lsm] do
        index = filter.equality_index
        add = fn -> Enum.each(new, fn {id, o} -> index.add_shape(filter, 1, id, o, []) end) end

        remove = fn ->
          Enum.each(new, fn {id, o} -> index.remove_shape(filter, 1, id, o, []) end)
        end

        :erlang.garbage_collect()
        {added, _} = :timer.tc(add)
        {removed, _} = :timer.tc(remove)
        {name, added / count, removed / count}
      end

    of = fn name, place ->
      times
      |> Enum.filter(&(elem(&1, 0) == name))
      |> Enum.map(&elem(&1, place))
      |> Measure.median()
    end

    {{of.(:ets, 1), of.(:lsm, 1)}, {of.(:ets, 2), of.(:lsm, 2)}}
  end

  # In ETS it takes many seconds with a million shapes. One set is gone before the other is made.
  defp all(ets, lsm, n) do
    {lsm_time, lsm_ids} = listed(LsmEqualityIndex, lsm, n)
    {ets_time, ^lsm_ids} = listed(EtsEqualityIndex, ets, n)
    {ets_time, lsm_time}
  end

  defp listed(index, filter, n) do
    :erlang.garbage_collect()
    {time, ids} = :timer.tc(fn -> index.all_shape_ids(filter, 1, "id") end)
    ^n = MapSet.size(ids)
    {time / 1000, :erlang.phash2(ids)}
  end

  defp listing(lsm, n) do
    routes = routes(lsm)
    :erlang.garbage_collect()

    {time, ^n} =
      :timer.tc(fn ->
        Engine.reduce(routes, {1, "id"}, 0, fn {ids, _}, n -> n + length(ids) end)
      end)

    time / 1000
  end

  defp set(handles) do
    list = lasting(:list, Tuple.to_list(handles))
    :erlang.garbage_collect()
    {time, _} = :timer.tc(fn -> MapSet.new(list) end)
    time / 1000
  end

  # From the end of one VM's index to the first change that the next one routes.
  defp reopen({values, handles, type}, n) do
    directory = Path.join(System.tmp_dir!(), "lsm_index_filter_#{System.os_time()}")
    {:ok, routes} = Routes.open(directory)

    for i <- 1..n,
        do: :ok = Routes.add(routes, {1, "id"}, type, elem(values, i - 1), elem(handles, i - 1))

    :ok = LsmIndex.compact(routes.index)
    :ok = Routes.close(routes)
    text = text(type, elem(values, 0))
    handle = elem(handles, 0)

    times =
      for _ <- 1..5 do
        {time, routes} =
          :timer.tc(fn ->
            {:ok, routes} = Routes.open(directory)
            {:ok, [^handle], []} = Routes.affected(routes, {1, "id"}, type, text)
            routes
          end)

        :ok = Routes.close(routes)
        time / 1000
      end

    File.rm_rf!(directory)
    Measure.median(times)
  end
end

n = String.to_integer(System.get_env("SHAPES", "1000000"))
for type <- [:int8, :uuid], do: Bench.Filter.run(type, n)
