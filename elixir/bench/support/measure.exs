defmodule Bench.Measure do
  @moduledoc false
  # Timing for the bench scripts. Subjects of one row are measured in turns, so that a noisy
  # neighbour on the machine hits all of them; a figure is the median of the rounds.

  # Words: no subject makes that much garbage in a round.
  @heap 16_000_000

  @doc """
  Runs each subject `rounds` times in turns; the median nanoseconds per operation of each.

  Every run is in a process of its own with a heap that lasts: what the garbage collector would
  have to copy there is nothing but the bench's own lists of keys.
  """
  def in_turns(subjects, operations, rounds \\ 7) do
    times =
      for _round <- 1..rounds, {name, fun} <- subjects do
        # Untimed first: what the caches hold is then this subject's doing, and not the last one's.
        {microseconds, _result} = alone(fn -> fun.() && :timer.tc(fun) end)
        {name, microseconds * 1000 / operations}
      end

    times
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Map.new(fn {name, figures} -> {name, median(figures)} end)
  end

  defp alone(fun) do
    parent = self()
    options = [:link, min_heap_size: @heap]
    pid = :erlang.spawn_opt(fn -> send(parent, {self(), fun.()}) end, options)

    receive do
      {^pid, result} -> result
    end
  end

  @doc "Runs `fun` once; its result and the nanoseconds per operation."
  def once(operations, fun) do
    :erlang.garbage_collect()
    {microseconds, result} = :timer.tc(fun)
    {result, microseconds * 1000 / operations}
  end

  @doc "Runs `fun` once, as it comes; its result and the nanoseconds."
  def quickly(fun) do
    started = System.monotonic_time()
    result = fun.()
    took = System.monotonic_time() - started
    {result, System.convert_time_unit(took, :native, :nanosecond)}
  end

  @doc "How many keys to measure with: what the environment variable lists, or these."
  def sizes(default, variable \\ "LSM_BENCH_KEYS") do
    case System.get_env(variable) do
      nil -> default
      sizes -> sizes |> String.split(",") |> Enum.map(&String.to_integer/1)
    end
  end

  def median(figures), do: figures |> Enum.sort() |> Enum.at(div(length(figures), 2))

  @doc "What the operating system holds for the files below `directory`, in bytes of content."
  def file_bytes(directory) do
    [directory, "**"]
    |> Path.join()
    |> Path.wildcard(match_dot: true)
    # A merge may remove one meanwhile.
    |> Enum.map(&File.stat/1)
    |> Enum.map(fn
      {:ok, %{type: :regular, size: size}} -> size
      _directory_or_gone -> 0
    end)
    |> Enum.sum()
  end

  @doc "Makes the operating system forget the files below `directory`, which nobody may have open."
  def drop_from_page_cache(directory) do
    for path <- [directory, "**"] |> Path.join() |> Path.wildcard(), File.regular?(path) do
      {:ok, file} = :file.open(path, [:read, :raw])
      :ok = :file.datasync(file)
      :ok = :file.advise(file, 0, 0, :dont_need)
      :ok = :file.close(file)
    end
  end

  @doc "Bytes of mapped files below `directory` that this process has in memory (Linux)."
  def resident_bytes(directory) do
    "/proc/self/smaps"
    |> File.stream!()
    |> Enum.reduce({false, 0}, fn
      "Rss:" <> size, {true, sum} -> {true, sum + kilobytes(size)}
      line, {ours, sum} -> {ours?(line, directory, ours), sum}
    end)
    |> elem(1)
  end

  # The first line of a mapping has a range of addresses, and the path at its end.
  defp ours?(line, directory, before) do
    if line =~ ~r/^[0-9a-f]+-[0-9a-f]+ /, do: String.contains?(line, directory), else: before
  end

  defp kilobytes(size), do: 1024 * (size |> String.split() |> hd() |> String.to_integer())
end
