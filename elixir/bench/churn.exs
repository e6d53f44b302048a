# What look-ups take while the index changes, and what the changes leave:
#
#     mix run bench/churn.exs                          # 1 M keys, 20 s each
#     LSM_BENCH_KEYS=10000000 LSM_BENCH_SECONDS=60 mix run bench/churn.exs
#
# Keys are replaced, the oldest by a new one each time, so the index stays as large as it is: first
# at the pace of a tenth of all keys a minute, then as fast as one process can. Meanwhile another
# process looks up random keys and takes the time of each call. In turns with that, ten times a
# second, it takes the time of a call that does without an index and takes as long as a look-up of an
# index at rest: the same process on the same busy cores, as likely to be interrupted. By how much
# that exceeds its median is the machine's and the VM's doing; what remains of a look-up's time is the
# index's.

Code.require_file("support/measure.exs", __DIR__)
Code.require_file("support/histogram.exs", __DIR__)
Code.require_file("support/table.exs", __DIR__)

defmodule Bench.Churn do
  alias Bench.{Histogram, Measure, Table}

  @slice_ms 50
  @sample_ms 250
  # Replacements that are made at once.
  @together 100
  @lookups 100_000

  def run(keys, seconds) do
    directory = Path.join(System.tmp_dir!(), "lsm_index_churn_#{System.os_time()}")
    {:ok, index} = LsmIndex.open(directory)
    {:ok, ^keys} = LsmIndex.load(index, Stream.map(1..keys, &{key(&1), id(&1)}))
    :ok = LsmIndex.compact(index)

    paces = [{"a tenth a minute", keys / 10 / 60}, {"full churn", :full}]
    load = alone(fn -> as_long_as(fn i -> LsmIndex.get(index, key(i)) end, keys) end)

    {results, _first} =
      Enum.map_reduce(paces, 1, fn {name, pace}, first ->
        result = churn({index, load}, first, keys, pace, seconds)
        {{name, result}, first + result.replaced}
      end)

    print(results, keys, seconds)
    for {name, result} <- results, do: save(name, result, keys)
    LsmIndex.close(index)
    File.rm_rf!(directory)
  end

  defp key(i), do: <<1::32, i::64>>

  # The keys `first..first + keys - 1` are there, and so many of them in the end, later ones.
  defp churn({index, load}, first, keys, pace, seconds) do
    before = LsmIndex.stats(index)
    cpu = cpu_ms()
    place = :atomics.new(1, [])
    :atomics.put(place, 1, first)
    writer = Task.async(fn -> replace(index, place, keys, pace, deadline(seconds)) end)
    sampler = Task.async(fn -> sample(index, deadline(seconds), []) end)
    {lookups, control} = alone(fn -> look_up({index, load}, place, keys, deadline(seconds)) end)
    replaced = Task.await(writer, :infinity)
    shares = Task.await(sampler, :infinity)
    later = LsmIndex.stats(index)

    %{
      lookups: lookups,
      control: control,
      replaced: replaced,
      overlays: shares,
      cpu: cpu_ms() - cpu,
      flushes: later.flushes - before.flushes,
      merges: later.merges - before.merges,
      stalls: later.stalls - before.stalls,
      amplification:
        (later.written_keys - before.written_keys) /
          max(later.flushed_keys - before.flushed_keys, 1),
      segments: later.total_segments,
      bytes: LsmIndex.memory(index).total / keys,
      files: Measure.file_bytes(index.path) / keys
    }
  end

  defp deadline(seconds), do: System.monotonic_time(:millisecond) + round(seconds * 1000)

  defp replace(index, place, keys, pace, deadline) do
    started = System.monotonic_time(:millisecond)
    replace(index, place, keys, pace, deadline, started, 0)
  end

  defp replace(index, place, keys, pace, deadline, started, count) do
    now = System.monotonic_time(:millisecond)

    cond do
      now >= deadline ->
        count

      is_number(pace) and count > (now - started) / 1000 * pace ->
        Process.sleep(1)
        replace(index, place, keys, pace, deadline, started, count)

      true ->
        oldest = :atomics.get(place, 1)

        {:ok, _changes} = replace_together(index, oldest, keys)
        :atomics.add(place, 1, @together)
        replace(index, place, keys, pace, deadline, started, count + @together)
    end
  end

  defp replace_together(index, oldest, keys) do
    changes =
      for i <- oldest..(oldest + @together - 1),
          change <- [{:put, key(i + keys), id(i + keys)}, {:delete, key(i), id(i)}],
          do: change

    with :ok <- LsmIndex.write(index, changes), do: {:ok, length(changes)}
  end

  defp id(i), do: rem(i, 2_147_483_647)

  # Of all native memory, how much is overlays'.
  defp sample(index, deadline, shares) do
    memory = LsmIndex.memory(index)
    shares = [memory.overlays / memory.total | shares]

    if System.monotonic_time(:millisecond) < deadline do
      Process.sleep(@sample_ms)
      sample(index, deadline, shares)
    else
      Enum.sum(shares) / length(shares)
    end
  end

  # No garbage collection of the bench's own in between: a heap that lasts.
  defp alone(fun) do
    parent = self()
    options = [:link, min_heap_size: 32_000_000]
    pid = :erlang.spawn_opt(fn -> send(parent, {self(), fun.()}) end, options)

    receive do
      {^pid, result} -> result
    end
  end

  defp look_up(subjects, place, keys, deadline) do
    {lookups, control} = {Histogram.new(), Histogram.new()}
    offsets = List.to_tuple(for _ <- 1..@lookups, do: :rand.uniform(keys) - 1)
    slices(subjects, place, offsets, {lookups, control}, deadline, 0)
    {lookups, control}
  end

  defp slices({index, load} = subjects, place, offsets, {lookups, control} = both, deadline, at) do
    now = System.monotonic_time(:millisecond)

    if now < deadline do
      at = slice(&LsmIndex.get/2, index, place, offsets, lookups, now + @slice_ms, at)
      at = slice(&without/2, load, place, offsets, control, now + 2 * @slice_ms, at)
      slices(subjects, place, offsets, both, deadline, at)
    end
  end

  defp slice(call, subject, place, offsets, histogram, until, at) do
    oldest = :atomics.get(place, 1)

    at =
      Enum.reduce(1..100, at, fn _, at ->
        key = key(oldest + elem(offsets, at))
        started = :erlang.monotonic_time()
        call.(subject, key)
        Histogram.add(histogram, :erlang.monotonic_time() - started)
        rem(at + 1, @lookups)
      end)

    if System.monotonic_time(:millisecond) < until,
      do: slice(call, subject, place, offsets, histogram, until, at),
      else: at
  end

  defp without(load, _key), do: :erlang.crc32(load)

  # A binary whose checksum takes as long as looking up a key: at most a megabyte, which is told.
  defp as_long_as(look_up, keys) do
    some = for _ <- 1..@lookups, do: :rand.uniform(keys)
    wanted = median_of(some, look_up)
    few = Enum.take(some, 5000)
    load = &:binary.copy(<<7>>, &1)
    takes = fn load -> median_of(few, fn _ -> without(load, nil) end) end
    load = load.(shortest(&takes.(load.(&1)), wanted, 0, 1_048_576))
    took = takes.(load)

    IO.puts(
      "\na look-up at rest: #{wanted} ns; a checksum of #{byte_size(load)} bytes: #{took} ns"
    )

    load
  end

  defp shortest(_takes, _wanted, low, high) when high - low < 16, do: high

  defp shortest(takes, wanted, low, high) do
    # Most look-ups are at the lower end.
    middle = low + max(div(high - low, 8), 8)

    if takes.(middle) >= wanted,
      do: shortest(takes, wanted, low, middle),
      else: shortest(takes, wanted, middle, high)
  end

  defp median_of(items, fun) do
    times =
      for item <- items do
        started = :erlang.monotonic_time()
        fun.(item)
        :erlang.monotonic_time() - started
      end

    Measure.median(times)
  end

  # Of this VM, all its threads together.
  defp cpu_ms do
    {ms, _since_last} = :erlang.statistics(:runtime)
    ms
  end

  # All durations, for a plot.
  defp save(name, %{lookups: lookups, control: control}, keys) do
    [lookups, control] =
      for histogram <- [lookups, control], do: Map.new(Histogram.buckets(histogram))

    bounds = lookups |> Map.merge(control) |> Map.keys() |> Enum.sort()

    Table.save(
      "Histogram, #{name}, #{keys} keys",
      ["nanoseconds, at most", "look-ups", "as long, without an index"],
      for(bound <- bounds, do: [bound, lookups[bound] || 0, control[bound] || 0])
    )
  end

  defp print(results, keys, seconds) do
    latencies =
      for {name, result} <- results,
          {what, quantile} <- [{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}] do
        with_index = Histogram.quantile(result.lookups, quantile) / 1000
        without = Histogram.quantile(result.control, quantile) / 1000
        interruptions = without - Histogram.quantile(result.control, 0.5) / 1000
        target = %{"p99" => "5", "p99.9" => "20"}[what]
        ["#{name}, #{what}", with_index - interruptions, target, with_index, without]
      end

    Table.print(
      "Look-ups in churn, #{keys} keys, #{seconds} s each (microseconds per call)",
      ["", "of the index", "target", "a look-up", "as long, without an index"],
      latencies
    )

    columns = for {_name, result} <- results, do: result
    row = fn name, target, figure -> [name, target | Enum.map(columns, figure)] end

    Table.print(
      "What the changes take and leave, #{keys} keys",
      ["", "target" | Enum.map(results, &elem(&1, 0))],
      [
        row.("keys replaced a second", nil, &(&1.replaced / seconds)),
        row.("keys written per key flushed", "12", & &1.amplification),
        row.("overlays, % of native memory", "8", &(100 * &1.overlays)),
        row.("native memory, bytes per key", nil, & &1.bytes),
        row.("files and log, bytes per key", nil, & &1.files),
        row.("segments", nil, & &1.segments),
        row.("flushes", nil, & &1.flushes),
        # Without any, too little time has passed to tell what a key is written in the long run.
        row.("merges", nil, & &1.merges),
        row.("writers that waited", nil, & &1.stalls),
        row.("processor time of the VM, % of a core", nil, &(&1.cpu / seconds / 10))
      ]
    )
  end
end

seconds = String.to_integer(System.get_env("LSM_BENCH_SECONDS", "20"))
[1_000_000] |> Bench.Measure.sizes() |> Enum.each(&Bench.Churn.run(&1, seconds))
