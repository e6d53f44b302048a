# What first look-ups cost when the system has the files in memory no more, beside what the device
# takes for a page:
#
#     mix run bench/cold.exs                        # 1 M keys
#     LSM_BENCH_KEYS=10000000 mix run bench/cold.exs
#
# Before each row the page cache is told to forget the index's files (`posix_fadvise`), and the index
# is opened anew. Opening reads the hash functions, and the system reads ahead, so that segments of a
# megabyte or two are in memory then, and a look-up waits for the processor to learn of it. A look-up
# reads up to four pages, one after the other, and nothing else: so it should take no longer than that
# many reads of a page at a random place, which the last row shows. Of a batch, the time is that on a
# normal scheduler: if it is not done in half a millisecond, a dirty one begins it anew.

Code.require_file("support/measure.exs", __DIR__)
Code.require_file("support/histogram.exs", __DIR__)
Code.require_file("support/table.exs", __DIR__)

defmodule Bench.Cold do
  alias Bench.{Histogram, Measure, Table}
  alias LsmIndex.Native

  @lookups 300
  @batch 100
  @page 4096

  def run(keys) do
    directory = Path.join(System.tmp_dir!(), "lsm_index_cold_#{System.os_time()}")
    {:ok, index} = LsmIndex.open(directory)
    {:ok, ^keys} = LsmIndex.load(index, Stream.map(1..keys, &{key(&1), &1}))
    :ok = LsmIndex.compact(index)
    :ok = LsmIndex.close(index)

    rows = [
      ["look-up, :mmap" | lookups(directory, keys, :mmap, & &1)],
      ["look-up after warm/1" | lookups(directory, keys, :mmap, &LsmIndex.warm/1)],
      ["look-up, :populate" | lookups(directory, keys, :populate, & &1)],
      ["look-up, :heap" | lookups(directory, keys, :heap, & &1)],
      ["get_many of #{@batch}, :mmap" | calls(directory, keys, &get_many/2)],
      ["write of #{@batch}, :mmap" | calls(directory, keys, &write/2)],
      ["read of a page at random" | pages(directory)]
    ]

    Table.print(
      "Cold files, #{keys} keys (microseconds; opening and warming in milliseconds)",
      ["", "open", "warm", "first", "p50", "p99", "longest"],
      rows
    )

    File.rm_rf!(directory)
  end

  defp key(i), do: <<1::32, i::64>>

  defp get_many(index, places) do
    keys = for i <- places, do: key(i)
    {answer, nanoseconds} = Measure.quickly(fn -> Native.get_many(index.ref, keys) end)
    true = answer == :large or answer == for(i <- places, do: [i])
    nanoseconds
  end

  # Of what is there already: it has to be found, and nothing is changed.
  defp write(index, places) do
    ops = for i <- places, do: {:put, key(i), i}
    {answer, nanoseconds} = Measure.quickly(fn -> Native.write(index.ref, ops) end)
    true = answer in [:large, 0]
    nanoseconds
  end

  defp calls(directory, keys, call) do
    cold(directory, :mmap, & &1, fn index ->
      for _ <- 1..div(@lookups, 10),
          do: call.(index, for(_ <- 1..@batch, do: :rand.uniform(keys)))
    end)
  end

  defp lookups(directory, keys, residency, prepare) do
    cold(directory, residency, prepare, fn index ->
      for _ <- 1..@lookups do
        i = :rand.uniform(keys)
        {[^i], nanoseconds} = Measure.quickly(fn -> LsmIndex.get(index, key(i)) end)
        nanoseconds
      end
    end)
  end

  defp cold(directory, residency, prepare, measure) do
    Measure.drop_from_page_cache(directory)

    {{:ok, index}, open} =
      Measure.once(1, fn -> LsmIndex.open(directory, residency: residency) end)

    {_, warm} = Measure.once(1, fn -> prepare.(index) end)
    times = measure.(index)
    :ok = LsmIndex.close(index)
    [open / 1.0e6, warm / 1.0e6 | distribution(times)]
  end

  defp pages(directory) do
    Measure.drop_from_page_cache(directory)
    files = directory |> Path.join("**/*.seg") |> Path.wildcard()

    times =
      for _ <- 1..@lookups do
        path = Enum.random(files)
        {:ok, file} = :file.open(path, [:read, :raw, :binary])
        # Otherwise the system reads what lies behind as well.
        :ok = :file.advise(file, 0, 0, :random)
        place = @page * (:rand.uniform(div(File.stat!(path).size, @page)) - 1)
        {{:ok, _page}, nanoseconds} = Measure.quickly(fn -> :file.pread(file, place, @page) end)
        :ok = :file.close(file)
        nanoseconds
      end

    [nil, nil | distribution(times)]
  end

  defp distribution([first | _] = times) do
    histogram = Histogram.new()
    Enum.each(times, &Histogram.add(histogram, &1))
    quantile = &(Histogram.quantile(histogram, &1) / 1000)
    [first / 1000, quantile.(0.5), quantile.(0.99), Enum.max(times) / 1000]
  end
end

[1_000_000] |> Bench.Measure.sizes() |> Enum.each(&Bench.Cold.run/1)
