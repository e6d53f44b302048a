# LsmIndex beside what else Elixir has for a table of a million keys, in one run:
#
#     MIX_ENV=prod mix run bench/peers.exs               # 1 M keys
#     KEYS=100000 MIX_ENV=prod mix run bench/peers.exs
#
# ETS with three row forms (integers, the sync service's, and the keys that LsmIndex has), a Map, a
# persistent term for each key, and DETS. LsmIndex is on disk, with its default durability, which
# survives a `kill -9`, and in memory; of the others only DETS is on disk. Trust the ratios more than
# the figures.

Code.require_file("support/measure.exs", __DIR__)
Code.require_file("support/table.exs", __DIR__)

defmodule Bench.Peers do
  alias Bench.{Measure, Table}

  @lookups 100_000
  @puts 10_000
  @batch 100
  @word :erlang.system_info(:wordsize)

  # What is compared: how it is made, filled, asked and changed. `key` makes its kind of key.
  defp subjects(directory) do
    binary = &<<1::32, &1::64>>

    [
      lsm("LsmIndex", Path.join(directory, "lsm_index"), binary),
      lsm("LsmIndex, in memory", :memory, binary),
      ets("ETS, integers", & &1, & &1),
      ets("ETS, the service's", &{1, "user_id", &1}, &{:int8, &1}),
      ets("ETS, binaries", binary, & &1),
      %{
        name: "Map",
        key: binary,
        load: &Map.new/1,
        get: &Map.get/2,
        found: &is_integer/1,
        memory: &(:erts_debug.flat_size(&1) * @word)
      },
      %{
        name: "persistent_term",
        key: &{__MODULE__, &1},
        load: fn pairs ->
          before = :persistent_term.info().memory
          Enum.each(pairs, fn {key, id} -> :persistent_term.put(key, id) end)
          before
        end,
        get: fn _before, key -> :persistent_term.get(key, nil) end,
        found: &is_integer/1,
        put: fn _before, key, id -> :persistent_term.put(key, id) end,
        memory: &(:persistent_term.info().memory - &1)
      },
      %{
        name: "DETS",
        key: binary,
        load: fn pairs ->
          file = directory |> Path.join("dets") |> String.to_charlist()
          {:ok, table} = :dets.open_file(__MODULE__, file: file, auto_save: :infinity)
          pairs |> Stream.chunk_every(1_000) |> Enum.each(&:dets.insert(table, &1))
          :ok = :dets.sync(table)
          table
        end,
        get: &:dets.lookup/2,
        found: &match?([_], &1),
        put: fn table, key, id -> :dets.insert(table, {key, id}) end,
        delete: fn table, key, _id -> :dets.delete(table, key) end,
        memory: fn _table -> nil end
      }
    ]
  end

  defp lsm(name, path, key) do
    %{
      name: name,
      key: key,
      load: fn pairs ->
        {:ok, index} = LsmIndex.open(path)
        {:ok, _count} = LsmIndex.load(index, pairs)
        :ok = LsmIndex.compact(index)
        index
      end,
      get: &LsmIndex.get/2,
      many: &LsmIndex.get_many/2,
      found: &match?([_], &1),
      put: &LsmIndex.put/3,
      delete: &LsmIndex.delete/3,
      memory: &LsmIndex.memory(&1).total
    }
  end

  defp ets(name, key, value) do
    %{
      name: name,
      key: key,
      load: fn pairs ->
        table = :ets.new(:peer, [:set, :public, read_concurrency: true])
        Enum.each(pairs, fn {key, id} -> :ets.insert(table, {key, value.(id)}) end)
        table
      end,
      get: &:ets.lookup/2,
      found: &match?([_], &1),
      put: fn table, key, id -> :ets.insert(table, {key, value.(id)}) end,
      delete: fn table, key, _id -> :ets.delete(table, key) end,
      memory: &(:ets.info(&1, :memory) * @word)
    }
  end

  def run(n) do
    directory = Path.join(System.tmp_dir!(), "lsm_index_peers_#{System.os_time()}")
    File.mkdir_p!(directory)
    loaded = for subject <- subjects(directory), do: load(subject, n)
    hits = for _ <- 1..min(@lookups, n), do: :rand.uniform(n)
    misses = for i <- hits, do: n + i

    {puts, deletes} = changes(loaded, n)

    rows = [
      ["load, ns per key" | Enum.map(loaded, & &1.load_time)],
      ["hit, ns" | lookups(loaded, hits, true)],
      ["miss, ns" | lookups(loaded, misses, false)],
      ["in batches of #{@batch}, ns per key" | batches(loaded, hits)],
      ["put of a new key, ns" | puts],
      ["delete of it, ns" | deletes],
      ["memory, bytes per key" | Enum.map(loaded, &memory(&1, n))],
      ["files, bytes per key" | files(loaded, directory, n)]
    ]

    Table.print("The same #{n} keys in each", ["" | Enum.map(loaded, & &1.name)], rows)
    :ok = LsmIndex.close(hd(loaded).of)
    :dets.close(__MODULE__)
    File.rm_rf!(directory)
  end

  # The pairs are there before, for none to pay for making them.
  defp load(subject, n) do
    pairs = for i <- 1..n, do: {subject.key.(i), i}
    {of, time} = Measure.once(n, fn -> subject.load.(pairs) end)
    # Out of this process's heap, where there is a value and not a table.
    :persistent_term.put({__MODULE__, :of, subject.name}, of)
    of = :persistent_term.get({__MODULE__, :of, subject.name})
    Map.merge(subject, %{of: of, load_time: time})
  end

  defp lookups(loaded, numbers, there?) do
    turns =
      for %{name: name, of: of, get: get} = subject <- loaded do
        keys = Enum.map(numbers, subject.key)
        true = Enum.all?(keys, &(subject.found.(get.(of, &1)) == there?))
        {name, fn -> Enum.each(keys, &get.(of, &1)) end}
      end

    times = Measure.in_turns(turns, length(numbers), 3)
    for subject <- loaded, do: times[subject.name]
  end

  defp batches(loaded, numbers) do
    turns =
      for %{many: many, of: of} = subject <- loaded do
        batches = numbers |> Enum.map(subject.key) |> Enum.chunk_every(@batch)
        {subject.name, fn -> Enum.each(batches, &many.(of, &1)) end}
      end

    times = Measure.in_turns(turns, length(numbers), 3)
    for subject <- loaded, do: times[subject.name]
  end

  # Each at a time, DETS last: what it leaves the disk to do is felt by who writes next. A Map is a
  # value: to put into it is to make another one. Erasing persistent terms has the whole VM collect its
  # garbage.
  defp changes(loaded, n) do
    Enum.unzip(for subject <- loaded, do: {change(subject, :put, n), change(subject, :delete, n)})
  end

  defp change(subject, change, n) do
    with %{^change => fun, of: of} <- subject do
      keys = for i <- 1..@puts, do: {subject.key.(2 * n + i), i}
      all = fn -> Enum.each(keys, fn {key, id} -> fun.(of, key, id) end) end
      {:ok, time} = Measure.once(@puts, all)
      time
    else
      _not_of_this -> nil
    end
  end

  defp memory(%{memory: memory, of: of}, n) do
    with bytes when is_integer(bytes) <- memory.(of), do: bytes / n
  end

  defp files(loaded, directory, n) do
    :ok = :dets.sync(__MODULE__)

    for %{name: name, of: of} <- loaded do
      case name do
        "LsmIndex" ->
          :ok = LsmIndex.sync(of)
          Measure.file_bytes(Path.join(directory, "lsm_index")) / n

        "DETS" ->
          File.stat!(Path.join(directory, "dets")).size / n

        _in_memory ->
          nil
      end
    end
  end
end

"KEYS" |> System.get_env("1000000") |> String.to_integer() |> Bench.Peers.run()
