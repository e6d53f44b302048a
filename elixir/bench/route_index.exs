# LsmIndex against ETS and Map, in one run on one machine:
#
#     mix run bench/route_index.exs             # 10 K, 100 K and 1 M keys
#     LSM_BENCH_KEYS=10000000 mix run bench/route_index.exs
#
# The ETS table has the rows of the sync service's equality index, `{{cond, field, value},
# {type, id}}`; the Map the same key and id. Keys are made beforehand for all. Trust the ratios
# more than the figures.

Code.require_file("support/measure.exs", __DIR__)
Code.require_file("support/table.exs", __DIR__)

defmodule Bench.RouteIndex do
  alias Bench.{Measure, Table}

  @lookups 200_000
  @puts 100_000
  @batch 100
  # How many keys a call asks for.
  @batches [1, 10, @batch, 1000, 10_000]
  # What the project promises, most as a share of ETS; batches as a share of one `:ets.lookup` of a
  # key that is there.
  @at_any_size %{
    "hit" => 0.40,
    "miss" => 0.20,
    "put" => 1.5,
    "write of 100, per change" => 0.6,
    "load" => 0.45,
    "files, bytes per key" => "12.5",
    "resident with verify: :fast, bytes per key" => "9.6",
    "open and look up, ms" => "20"
  }
  @targets %{
    1_000_000 => Map.put(@at_any_size, "batch of 100, per key", 0.12),
    10_000_000 => Map.put(@at_any_size, "batch of 100, per key", 0.10)
  }

  def run(keys) do
    # A process of its own, so that nothing of one size burdens the next.
    fn -> measure(keys) end |> Task.async() |> Task.await(:infinity)
  end

  defp measure(n) do
    directory = Path.join(System.tmp_dir!(), "lsm_index_bench_#{System.os_time()}")
    rows = for i <- 1..n, do: {{1, "user_id", i}, {:int8, i}}
    pairs = for i <- 1..n, do: {key(i), i}

    {ets, ets_load} = Measure.once(n, fn -> ets(rows) end)
    {map, map_load} = Measure.once(n, fn -> Map.new(rows) end)
    {{:ok, index}, create} = Measure.once(1, fn -> LsmIndex.open(directory) end)
    {{:ok, ^n}, load} = Measure.once(n, fn -> LsmIndex.load(index, pairs) end)
    :ok = LsmIndex.compact(index)

    lookups = min(@lookups, n)
    hits = for _ <- 1..lookups, do: :rand.uniform(n)
    lookup_rows = lookups({index, ets, map}, n, hits)
    put_rows = puts(ets, n)
    memory = LsmIndex.memory(index)
    ets_bytes = :ets.info(ets, :memory) * :erlang.system_info(:wordsize)
    :ok = LsmIndex.close(index)
    files = Measure.file_bytes(directory) / n
    open_ms = open_and_look_up(directory, n)
    resident = resident(directory, n) / n

    Table.print(
      "#{n} keys (nanoseconds per operation, unless said)",
      ["", "LsmIndex/ETS", "target", "LsmIndex", "ETS", "Map"],
      (lookup_rows ++
         put_rows ++
         [
           row("load", load, ets_load, map_load),
           memory_row(memory, ets_bytes, map, n),
           ["files, bytes per key", nil, nil, files, nil, nil],
           ["resident with verify: :fast, bytes per key", nil, nil, resident, nil, nil],
           ["create, ms", nil, nil, create / 1.0e6, nil, nil],
           # What the others have to do after a restart is to load.
           row("open and look up, ms", open_ms, ets_load * n / 1.0e6, map_load * n / 1.0e6)
         ])
      |> Enum.map(&with_target(&1, n))
    )

    parts(memory, ets_bytes, n)
    File.rm_rf!(directory)
  end

  # Where the bytes are: what segments have by section, then what there is besides.
  defp parts(memory, ets_bytes, n) do
    beside = Map.take(memory, [:overlays, :tables, :dictionary])
    parts = Map.to_list(memory.sections) ++ Map.to_list(beside)
    rest = memory.total - Enum.sum(Keyword.values(parts))
    parts = Enum.sort_by(parts, &(-elem(&1, 1))) ++ [rest: rest]
    row = fn name, bytes -> [name, bytes / n, 100 * bytes / memory.total] end

    Table.print(
      "Bytes per key by part, #{n} keys",
      ["", "bytes per key", "of all, %"],
      for({name, bytes} <- parts, do: row.(name, bytes)) ++
        [row.("all", memory.total), ["ETS", ets_bytes / n, nil]]
    )
  end

  defp key(i), do: <<1::32, i::64>>

  defp ets(rows) do
    table = :ets.new(:routes, [:set, :public, read_concurrency: true])
    Enum.each(rows, &:ets.insert(table, &1))
    table
  end

  defp lookups({index, ets, map}, keys, hits) do
    n = length(hits)
    ets_hits = for i <- hits, do: {1, "user_id", i}
    term_batches = Enum.chunk_every(ets_hits, @batch)
    term_pairs = Stream.map(1..keys, &{{1, "user_id", &1}, &1})
    ets_misses = for i <- hits, do: {2, "user_id", i}
    hits = for i <- hits, do: key(i)
    misses = for <<1::32, i::64>> <- hits, do: <<2::32, i::64>>
    {:ok, terms} = LsmIndex.open(:memory)
    {:ok, _count} = LsmIndex.load(terms, term_pairs)
    :ok = LsmIndex.compact(terms)
    heap = loaded(keys, residency: :heap)
    filtered = loaded(keys, filter: :fuse8)
    batches = Map.new(@batches, &{&1, Enum.chunk_every(hits, &1)})

    in_batches = fn index, batches ->
      fn -> Enum.each(batches, &LsmIndex.get_many(index, &1)) end
    end

    hit =
      Measure.in_turns(
        [
          lsm: fn -> Enum.each(hits, &LsmIndex.get(index, &1)) end,
          ets: fn -> Enum.each(ets_hits, &:ets.lookup(ets, &1)) end,
          map: fn -> Enum.each(ets_hits, &Map.get(map, &1)) end,
          heap: fn -> Enum.each(hits, &LsmIndex.get(heap, &1)) end,
          filtered: fn -> Enum.each(hits, &LsmIndex.get(filtered, &1)) end,
          heap_batch: in_batches.(heap, batches[@batch]),
          term: fn -> Enum.each(ets_hits, &LsmIndex.get(terms, &1)) end,
          term_batch: in_batches.(terms, term_batches),
          built: fn ->
            Enum.each(ets_hits, fn {1, "user_id", i} -> LsmIndex.get(index, key(i)) end)
          end
        ] ++ for(size <- @batches, do: {{:batch, size}, in_batches.(index, batches[size])}),
        n
      )

    miss =
      Measure.in_turns(
        [
          lsm: fn -> Enum.each(misses, &LsmIndex.get(index, &1)) end,
          filtered: fn -> Enum.each(misses, &LsmIndex.get(filtered, &1)) end,
          ets: fn -> Enum.each(ets_misses, &:ets.lookup(ets, &1)) end,
          map: fn -> Enum.each(ets_misses, &Map.get(map, &1)) end
        ],
        n
      )

    Enum.each([terms, heap, filtered], &LsmIndex.close/1)

    [
      row("hit", hit.lsm, hit.ets, hit.map),
      row("hit, the key made of {1, field, i}", hit.built, hit.ets, hit.map),
      row("hit, {1, field, i} as the key", hit.term, hit.ets, hit.map),
      row("miss", miss.lsm, miss.ets, miss.map),
      row("miss, beside a hit of ETS", miss.lsm, hit.ets, miss.map)
    ] ++
      for size <- @batches do
        row("batch of #{size}, per key", hit[{:batch, size}], hit.ets, hit.map)
      end ++
      [
        row("hit, filter: :fuse8", hit.filtered, hit.ets, hit.map),
        row("miss, filter: :fuse8", miss.filtered, miss.ets, miss.map),
        row("hit, residency: :heap", hit.heap, hit.ets, hit.map),
        row("batch of 100, residency: :heap", hit.heap_batch, hit.ets, hit.map),
        row("batch of 100, terms as keys", hit.term_batch, hit.ets, hit.map)
      ]
  end

  defp loaded(keys, options) do
    {:ok, index} = LsmIndex.open(:memory, options)
    {:ok, _count} = LsmIndex.load(index, Stream.map(1..keys, &{key(&1), &1}))
    :ok = LsmIndex.compact(index)
    index
  end

  # New keys into an index in memory of the size that the table has: one call each, then in batches.
  defp puts(ets, n) do
    {:ok, index} = LsmIndex.open(:memory)
    {:ok, _count} = LsmIndex.load(index, for(i <- 1..n, do: {key(i), i}))
    fresh = for i <- (n + 1)..(n + @puts), do: {key(i), i}
    ets_fresh = for i <- (n + 1)..(n + @puts), do: {{1, "user_id", i}, {:int8, i}}

    {_, put} =
      Measure.once(@puts, fn ->
        Enum.each(fresh, fn {key, id} -> LsmIndex.put(index, key, id) end)
      end)

    batches =
      for i <- 1..@puts do
        {:put, key(n + @puts + i), i}
      end
      |> Enum.chunk_every(@batch)

    {_, write} = Measure.once(@puts, fn -> Enum.each(batches, &LsmIndex.write(index, &1)) end)
    {_, insert} = Measure.once(@puts, fn -> Enum.each(ets_fresh, &:ets.insert(ets, &1)) end)

    # The table as it was, for what is measured next.
    Enum.each(ets_fresh, &:ets.delete(ets, elem(&1, 0)))
    LsmIndex.close(index)
    [row("put", put, insert, nil), row("write of 100, per change", write, insert, nil)]
  end

  # In a process of its own: opening makes the caller wait for others, whom a large heap would slow.
  defp open_and_look_up(directory, n) do
    once = fn ->
      {{index, [^n]}, nanoseconds} =
        Measure.once(1, fn ->
          {:ok, index} = LsmIndex.open(directory)
          {index, LsmIndex.get(index, key(n))}
        end)

      :ok = LsmIndex.close(index)
      nanoseconds / 1.0e6
    end

    fn -> Measure.median(for _ <- 1..7, do: once.()) end |> Task.async() |> Task.await(:infinity)
  end

  # What the system holds in memory for us once every key was looked up, from a cold start.
  defp resident(directory, n) do
    Measure.drop_from_page_cache(directory)
    {:ok, index} = LsmIndex.open(directory, verify: :fast)

    for keys <- Stream.chunk_every(1..n, 1000),
        do: LsmIndex.get_many(index, Enum.map(keys, &key/1))

    memory = LsmIndex.memory(index)
    resident = Measure.resident_bytes(directory) + memory.total - memory.mapped_files
    :ok = LsmIndex.close(index)
    resident
  end

  defp memory_row(memory, ets_bytes, map, n) do
    word = :erlang.system_info(:wordsize)

    row(
      "memory, bytes per key",
      memory.total / n,
      ets_bytes / n,
      :erts_debug.flat_size(map) * word / n
    )
  end

  defp row(name, lsm, ets, map), do: [name, lsm / ets, nil, lsm, ets, map]

  defp with_target([name, ratio, nil | rest], n), do: [name, ratio, @targets[n][name] | rest]
end

IO.puts(
  "Elixir #{System.version()}, OTP #{System.otp_release()}, #{System.schedulers_online()} schedulers"
)

[10_000, 100_000, 1_000_000] |> Bench.Measure.sizes() |> Enum.each(&Bench.RouteIndex.run/1)
