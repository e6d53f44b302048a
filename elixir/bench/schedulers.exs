# Do the BEAM's schedulers stay free? A minute of look-ups, batches, changes and compaction on two
# indexes on disk, one of plain keys and one of routes to shapes, with `:erlang.system_monitor`
# watching for processes that keep a scheduler for 5 ms or more:
#
#     mix run bench/schedulers.exs          # a minute; or LSM_BENCH_SECONDS=10
#
# The load leaves the cores some room: on cores that are all taken, the operating system interrupts
# everybody for longer than that, which LSM_BENCH_PAUSE_MS=1 (instead of 4) shows on two cores.
#
# The same processes then do the same on ETS: what is reported there is the machine's doing (the
# operating system taking a core away counts as well). The process that lists all shapes every
# ten seconds is counted by itself, as it makes a large set of them, whoever lists them.

Code.require_file("support/table.exs", __DIR__)

defmodule Bench.Schedulers do
  alias Bench.Table
  alias LsmIndex.Index

  @keys 1_000_000
  @shapes 200_000
  @limit_ms 5

  def run(seconds) do
    directory = Path.join(System.tmp_dir!(), "lsm_index_schedulers_#{System.os_time()}")
    {index, routes} = lsm = fill_lsm(directory)
    ets = fill_ets()

    before = counters(lsm)
    owners = [index.owner, routes.lsm.owner, Process.whereis(LsmIndex.Compactor)]
    lsm_result = watch(seconds, lsm_job(lsm), owners)
    later = counters(lsm)
    ets_result = watch(seconds, ets_job(ets), [])

    row = fn title, figure -> [title, figure.(lsm_result), figure.(ets_result)] end

    Table.print(
      "#{seconds} s, #{@keys} keys, #{@shapes} shapes, schedules of #{@limit_ms} ms and more",
      ["", "LsmIndex", "ETS"],
      [
        row.("reported from our processes", &length(&1.long)),
        row.("reported from the one that lists", &length(&1.long_lists)),
        row.("look-ups, per second", &(&1.reads / seconds)),
        row.("changes, per second", &(&1.writes / seconds)),
        row.("lists of all shapes", & &1.lists),
        ["flushes and merges", later.flushes - before.flushes, nil],
        ["writers that waited", later.stalls - before.stalls, nil]
      ]
    )

    show_longest("LsmIndex", lsm_result.long)
    show_longest("ETS", ets_result.long)
    LsmIndex.close(index)
    LsmEqualityIndex.close(routes)
    File.rm_rf!(directory)
  end

  defp show_longest(label, reports) do
    longest = reports |> Enum.sort_by(&(-&1[:timeout])) |> Enum.take(3)
    for report <- longest, do: IO.inspect(report, label: label, width: :infinity)
  end

  defp pause, do: "LSM_BENCH_PAUSE_MS" |> System.get_env("4") |> String.to_integer()

  defp counters({index, routes}) do
    stats = [LsmIndex.stats(index), LsmEqualityIndex.stats(routes)]

    for counter <- [:flushes, :stalls],
        into: %{},
        do: {counter, stats |> Enum.map(& &1[counter]) |> Enum.sum()}
  end

  # Watching

  defp watch(seconds, job, library) do
    :erlang.garbage_collect()
    counters = :counters.new(3, [:write_concurrency])
    :erlang.system_monitor(self(), long_schedule: @limit_ms)

    workers =
      for _ <- 1..2,
          {role, number} <- [{job.read, 1}, {job.write, 2}],
          do: spawn_link(fn -> work(role, counters, number, pause()) end)

    lister = spawn_link(fn -> work(job.list, counters, 3, 10_000) end)

    # Not our own: this process, which only waits, and whatever else the VM runs.
    reports = collect(deadline(seconds), [])
    :erlang.system_monitor(:undefined)
    for worker <- [lister | workers], do: Process.unlink(worker) && Process.exit(worker, :kill)

    ours = workers ++ library ++ Enum.flat_map(library, &linked/1)
    [reads, writes, lists] = for number <- 1..3, do: :counters.get(counters, number)

    %{
      long: for({pid, info} <- reports, pid in ours, do: info),
      long_lists: for({^lister, info} <- reports, do: info),
      reads: reads,
      writes: writes,
      lists: lists
    }
  end

  defp linked(pid), do: pid |> Process.info(:links) |> elem(1) |> Enum.filter(&is_pid/1)

  defp deadline(seconds), do: System.monotonic_time(:millisecond) + seconds * 1000

  defp collect(deadline, reports) do
    receive do
      {:monitor, pid, :long_schedule, info} -> collect(deadline, [{pid, info} | reports])
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> reports
    end
  end

  # A burst of work, then a pause: busy, but not starving. A role gives how much it did.
  defp work(role, counters, number, pause) do
    :counters.add(counters, number, role.())

    receive do
    after
      pause -> work(role, counters, number, pause)
    end
  end

  # The two subjects

  defp fill_lsm(directory) do
    {:ok, index} = LsmIndex.open(Path.join(directory, "keys"))
    {:ok, _count} = LsmIndex.load(index, for(i <- 1..@keys, do: {key(i), i}))
    routes = LsmEqualityIndex.new(:int8, path: Path.join(directory, "routes"))
    for i <- 1..@shapes, do: Index.add_shape(routes, value(i), shape(i), nil)
    {index, routes}
  end

  defp fill_ets do
    concurrent = [:public, read_concurrency: true, write_concurrency: true]
    keys = :ets.new(:keys, [:set | concurrent])
    for i <- 1..@keys, do: :ets.insert(keys, {key(i), i})
    routes = :ets.new(:routes, [:bag | concurrent])
    for i <- 1..@shapes, do: :ets.insert(routes, {value(i), shape(i)})
    {keys, routes}
  end

  defp lsm_job({index, routes}) do
    %{
      read: fn ->
        for i <- random(50, @keys), do: LsmIndex.get(index, key(i))
        LsmIndex.get_many(index, for(i <- random(100, @keys), do: key(i)))
        for i <- random(50, @shapes), do: Index.affected_shapes(routes, "id", record(i), %{})
        200
      end,
      write: fn ->
        for i <- random(20, @keys), do: LsmIndex.put(index, key(i), :rand.uniform(1000))
        LsmIndex.write(index, for(i <- random(30, @keys), do: {:delete, key(i), i}))
        for i <- random(10, @shapes), do: Index.add_shape(routes, value(i), shape(i), nil)
        for i <- random(10, @shapes), do: Index.remove_shape(routes, value(i), shape(i), nil)
        70
      end,
      list: fn ->
        Index.all_shape_ids(routes)
        1
      end
    }
  end

  defp ets_job({keys, routes}) do
    %{
      read: fn ->
        for i <- random(150, @keys), do: :ets.lookup(keys, key(i))

        for i <- random(50, @shapes) do
          %{"id" => text} = record(i)
          found = :ets.lookup(routes, String.to_integer(text))
          MapSet.new(found, fn {_value, shape} -> shape end)
        end

        200
      end,
      write: fn ->
        for i <- random(20, @keys), do: :ets.insert(keys, {key(i), :rand.uniform(1000)})
        for i <- random(30, @keys), do: :ets.delete(keys, key(i))
        for i <- random(10, @shapes), do: :ets.insert(routes, {value(i), shape(i)})
        for i <- random(10, @shapes), do: :ets.delete_object(routes, {value(i), shape(i)})
        70
      end,
      list: fn ->
        routes |> :ets.select([{{:_, :"$1"}, [], [:"$1"]}]) |> MapSet.new()
        1
      end
    }
  end

  # Half of what is asked for was there in the beginning.
  defp random(count, filled), do: for(_ <- 1..count, do: :rand.uniform(2 * filled))

  defp key(i), do: <<1::32, i::64>>

  # Two shapes with the same value, and so the same record.
  defp value(i), do: div(i, 2)
  defp shape(i), do: "shape-#{i}"
  defp record(i), do: %{"id" => Integer.to_string(value(i))}
end

"LSM_BENCH_SECONDS" |> System.get_env("60") |> String.to_integer() |> Bench.Schedulers.run()
