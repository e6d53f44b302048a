# What durability costs: the same changes under :memory, :os and :sync, in one run on one machine.
#
#     mix run bench/durability.exs               # below the system's temporary directory
#     LSM_BENCH_DIR=/data mix run bench/durability.exs
#
# All three indexes are stored. What :sync costs is the disk's business; a temporary directory in
# memory makes it cheap.

Code.require_file("support/measure.exs", __DIR__)
Code.require_file("support/table.exs", __DIR__)

defmodule Bench.Durability do
  alias Bench.{Measure, Table}

  @batch 100
  @batches 2_000
  @puts 50_000
  @syncs 200
  @writers 16
  # What the project promises.
  @target 2.0

  def run do
    root = System.get_env("LSM_BENCH_DIR", System.tmp_dir!())
    directory = Path.join(root, "lsm_index_durability_#{System.os_time()}")

    indexes =
      for mode <- [:memory, :os, :sync], into: %{} do
        {:ok, index} = LsmIndex.open(Path.join(directory, "#{mode}"), durability: mode)
        {mode, index}
      end

    IO.puts("in #{directory}\n")

    Table.print(
      "Three durabilities (nanoseconds per change, unless said)",
      ["", ":os/:memory", "target", ":memory", ":os", ":sync"],
      [
        batches(indexes),
        puts(indexes),
        group(indexes),
        recovery(Path.join(directory, "crashed"))
      ]
    )

    for {_mode, index} <- indexes, do: :ok = LsmIndex.close(index)
    File.rm_rf!(directory)
  end

  # Puts and deletes by turns, so that the index stays as large as it is.
  defp batches(indexes) do
    {puts, deletes} = {ops(:put), ops(:delete)}

    run = fn index, times ->
      fn ->
        for n <- 1..times do
          :ok = LsmIndex.write(index, if(rem(n, 2) == 1, do: puts, else: deletes))
        end
      end
    end

    times =
      Measure.in_turns(
        [memory: run.(indexes.memory, @batches), os: run.(indexes.os, @batches)],
        @batch * @batches
      )

    {_, sync} = Measure.once(@batch * @syncs, run.(indexes.sync, @syncs))
    row("write/2 of #{@batch}", times.memory, times.os, sync, @target)
  end

  defp ops(op), do: for(n <- 1..@batch, do: {op, "user:#{n}", n})

  defp puts(indexes) do
    run = fn index, times ->
      fn ->
        for n <- 1..times, do: :ok = LsmIndex.put(index, "key:#{rem(n, 100)}", n)
        for n <- 1..times, do: :ok = LsmIndex.delete(index, "key:#{rem(n, 100)}", n)
      end
    end

    times =
      Measure.in_turns(
        [memory: run.(indexes.memory, @puts), os: run.(indexes.os, @puts)],
        2 * @puts
      )

    {_, sync} = Measure.once(2 * @syncs, run.(indexes.sync, @syncs))
    row("put/3, delete/3", times.memory, times.os, sync, nil)
  end

  # Those who wait for the disk at the same time wait for one sync.
  defp group(indexes) do
    [memory, os, sync] =
      for mode <- [:memory, :os, :sync] do
        index = indexes[mode]

        write = fn writer ->
          fn -> for n <- 1..@syncs, do: :ok = LsmIndex.put(index, "writer:#{writer}", n) end
        end

        {_, time} =
          Measure.once(@writers * @syncs, fn ->
            1..@writers |> Enum.map(&Task.async(write.(&1))) |> Task.await_many(:infinity)
          end)

        time
      end

    row("put/3 by #{@writers} at once", memory, os, sync, nil)
  end

  # A log as long as it may get, read and replayed.
  defp recovery(directory) do
    {:ok, index} = LsmIndex.open(directory, compaction_threshold: 1_000_000)

    for n <- 1..25_000 do
      :ok = LsmIndex.write(index, for(i <- 1..@batch, do: {:put, "key:#{n * @batch + i}", i}))
    end

    # A copy made while segments come and go would miss some.
    wait_for_compactor(index, LsmIndex.stats(index))
    copy = directory <> "-copy"
    File.cp_r!(directory, copy)
    {:ok, reopened} = LsmIndex.open(copy)
    recovery = LsmIndex.stats(reopened).recovery
    :ok = LsmIndex.close(reopened)
    :ok = LsmIndex.close(index)

    megabytes = Float.round(recovery.log_bytes / 1.0e6, 1)
    label = "recovery, ms: #{recovery.changes} changes, #{megabytes} MB"
    [label, nil, nil, nil, recovery.micros / 1000, nil]
  end

  defp wait_for_compactor(index, before) do
    Process.sleep(500)
    stats = LsmIndex.stats(index)

    unless stats.lanes_to_flush == 0 and stats.written_bytes == before.written_bytes,
      do: wait_for_compactor(index, stats)
  end

  defp row(name, memory, os, sync, target), do: [name, os / memory, target, memory, os, sync]
end

Bench.Durability.run()
