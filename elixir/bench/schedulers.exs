# Do the BEAM's schedulers stay free? A minute of look-ups, batches, changes and compaction on an
# index on disk, with `:erlang.system_monitor` watching for processes that keep a scheduler for
# 5 ms or more:
#
#     mix run bench/schedulers.exs          # a minute; or LSM_BENCH_SECONDS=10
#
# The same processes then do the same on ETS: what is reported there is the machine's doing (the
# operating system taking a core away counts as well).

Code.require_file("support/measure.exs", __DIR__)

defmodule Bench.Schedulers do
  alias Bench.Table

  @keys 1_000_000
  @limit_ms 5

  def run(seconds) do
    directory = Path.join(System.tmp_dir!(), "lsm_index_schedulers_#{System.os_time()}")
    {:ok, index} = LsmIndex.open(directory)
    {:ok, _count} = LsmIndex.load(index, for(i <- 1..@keys, do: {key(i), i}))
    ets = :ets.new(:routes, [:set, :public, read_concurrency: true, write_concurrency: true])
    for i <- 1..@keys, do: :ets.insert(ets, {key(i), i})

    before = LsmIndex.stats(index)
    lsm = watch(seconds, lsm(index), [index.owner, Process.whereis(LsmIndex.Compactor)])
    stats = LsmIndex.stats(index)
    control = watch(seconds, ets(ets), [])

    Table.print(
      "#{seconds} s, #{@keys} keys, schedules of #{@limit_ms} ms and more",
      ["", "LsmIndex", "ETS"],
      [
        ["reported from our processes", length(lsm.long), length(control.long)],
        ["look-ups, per second", lsm.reads / seconds, control.reads / seconds],
        ["changes, per second", lsm.writes / seconds, control.writes / seconds],
        ["flushes and merges", stats.flushes - before.flushes, nil],
        ["writers that waited", stats.stalls - before.stalls, nil]
      ]
    )

    for report <- lsm.long, do: IO.inspect(report, label: "LsmIndex")
    for report <- control.long, do: IO.inspect(report, label: "ETS")
    LsmIndex.close(index)
    File.rm_rf!(directory)
  end

  defp watch(seconds, job, library) do
    :erlang.garbage_collect()
    counters = :counters.new(2, [:write_concurrency])
    :erlang.system_monitor(self(), long_schedule: @limit_ms)

    workers =
      for _ <- 1..2, role <- [job.read, job.write], do: spawn_link(fn -> work(role, counters) end)

    # Not our own: this process, which only waits, and whatever else the VM runs.
    reports = collect(deadline(seconds), [])
    :erlang.system_monitor(:undefined)
    for worker <- workers, do: Process.unlink(worker) && Process.exit(worker, :kill)

    ours = MapSet.new(workers ++ library ++ Enum.flat_map(library, &linked/1))
    long = for {pid, info} <- reports, pid in ours, do: info
    %{long: long, reads: :counters.get(counters, 1), writes: :counters.get(counters, 2)}
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

  # A burst of work, then a pause: busy, but not starving.
  defp work(role, counters) do
    role.(counters)

    receive do
    after
      1 -> work(role, counters)
    end
  end

  defp lsm(index) do
    %{
      read: fn counters ->
        for _ <- 1..50, do: LsmIndex.get(index, key(:rand.uniform(2 * @keys)))
        LsmIndex.get_many(index, for(_ <- 1..100, do: key(:rand.uniform(2 * @keys))))
        :counters.add(counters, 1, 150)
      end,
      write: fn counters ->
        for _ <- 1..20,
            do: LsmIndex.put(index, key(:rand.uniform(2 * @keys)), :rand.uniform(1000))

        deletes = for i <- random(30), do: {:delete, key(i), i}
        LsmIndex.write(index, deletes)
        :counters.add(counters, 2, 50)
      end
    }
  end

  defp ets(table) do
    %{
      read: fn counters ->
        for _ <- 1..150, do: :ets.lookup(table, key(:rand.uniform(2 * @keys)))
        :counters.add(counters, 1, 150)
      end,
      write: fn counters ->
        for _ <- 1..20, do: :ets.insert(table, {key(:rand.uniform(2 * @keys)), 1})
        for _ <- 1..30, do: :ets.delete(table, key(:rand.uniform(2 * @keys)))
        :counters.add(counters, 2, 50)
      end
    }
  end

  defp random(count), do: for(_ <- 1..count, do: :rand.uniform(2 * @keys))
  defp key(i), do: <<1::32, i::64>>
end

"LSM_BENCH_SECONDS" |> System.get_env("60") |> String.to_integer() |> Bench.Schedulers.run()
