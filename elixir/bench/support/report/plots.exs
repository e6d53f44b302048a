defmodule Bench.Report.Plots do
  @moduledoc false
  # What the page draws, as plain data. A plot has `:id`, `:title`, `:text`, `:kind` (:line or :bars),
  # axes `:x` and `:y` (`:title`, `:scale`), and `:series`, each with a `:name`, its `:points`, the
  # number of its `:colour`, and whether its line is `:dashed`. Bars have `:categories` as well.

  alias Bench.Report.{Benches, Numbers, Tables}

  @ns ~r/^(\d+) keys \(nanoseconds/
  @batches [1, 10, 100, 1000, 10_000]
  # The palette has eight colours, which the colour-blind can tell apart.
  @parts 8

  @doc "All plots, or none: it raises if a figure is missing."
  def all!(benches) do
    beside_ets = Benches.tables!(benches, "route_index")
    churn = Benches.tables!(benches, "churn")

    times = Tables.by_number!(beside_ets, @ns)
    bytes = Tables.by_number!(beside_ets, ~r/^Bytes per key by part, (\d+) keys/)
    [latency(times), throughput(times)] ++ churn(churn) ++ [parts(bytes)]
  end

  defp latency(tables) do
    series = fn name, row, column, colour, dashed ->
      points = for {n, table} <- tables, do: [n, Tables.figure!(table, row, column)]
      %{name: name, points: points, colour: colour, dashed: dashed}
    end

    %{
      id: "latency",
      kind: :line,
      title: "Latency against number of keys",
      text: "Nanoseconds for a key, in an index that was compacted; lower is better.",
      x: %{title: "keys in the index", scale: :log},
      y: %{title: "nanoseconds per key", scale: :log, unit: "ns"},
      series: [
        series.("LsmIndex, hit", "hit", "LsmIndex", 0, false),
        series.("LsmIndex, miss", "miss", "LsmIndex", 1, false),
        series.("LsmIndex, in batches of 100", "batch of 100, per key", "LsmIndex", 2, false),
        series.("ETS, hit", "hit", "ETS", 3, true),
        series.("ETS, miss", "miss", "ETS", 4, true),
        series.("Map, hit", "hit", "Map", 5, true)
      ]
    }
  end

  # A plot for each number of keys.
  defp churn(tables) do
    steady = Tables.by_number!(tables, ~r/^Histogram, a tenth a minute, (\d+) keys/)
    full = Tables.by_number!(tables, ~r/^Histogram, full churn, (\d+) keys/)
    [_ | _] = both = for {n, table} <- steady, {^n, other} <- full, do: {n, table, other}

    for {n, steady, full} <- both do
      series = fn name, table, column, colour, dashed ->
        %{name: name, points: percentiles(table, column), colour: colour, dashed: dashed}
      end

      %{
        id: "churn-#{n}",
        kind: :line,
        title: "Look-ups in churn, #{Numbers.count(n)} keys",
        text:
          "How long so many percent of all calls take at most, beside one that is as long and " <>
            "does without an index; " <>
            "lower is better. Steady: a tenth of the keys is replaced in a minute. Full: as many " <>
            "as one process can.",
        x: %{title: "percent of calls", scale: :nines},
        y: %{title: "microseconds", scale: :log, unit: "µs"},
        series: [
          series.("look-up, full churn", full, "look-ups", 1, false),
          series.("look-up, steady", steady, "look-ups", 0, false),
          series.("without, full churn", full, "as long, without an index", 1, true),
          series.("without, steady", steady, "as long, without an index", 0, true)
        ]
      }
    end
  end

  # From the middle on, `[nines, microseconds]`: 1 is 90 %, 2 is 99 %. Where less than ten calls are
  # above, there is chance alone.
  defp percentiles(table, column) do
    place = Enum.find_index(table.header, &(&1 == column)) || raise "no column “#{column}”"
    counts = for row <- table.rows, do: {hd(row) |> String.to_integer(), Enum.at(row, place)}
    total = counts |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    if total < 100, do: raise("“#{table.title}” has too few calls")
    last = min(5.0, :math.log10(total / 10))

    {points, _seen} =
      Enum.flat_map_reduce(counts, 0, fn {nanoseconds, count}, seen ->
        above = total - seen - count
        nines = if above > 0, do: :math.log10(total / above), else: last
        {[{nines, nanoseconds / 1000}], seen + count}
      end)

    quantile = fn nines -> Enum.find_value(points, fn {to, us} -> if to >= nines, do: us end) end

    for step <- 6..round(last * 20), nines = step / 20, us = quantile.(nines) do
      [nines, max(us, 0.001)]
    end
  end

  # The parts that take most where there are most keys, and the others together, each if it is to be seen.
  defp parts(tables) do
    {_n, largest} = List.last(tables)
    bytes = fn table, name -> Tables.figure!(table, name, "bytes per key") end
    points = fn figure -> for {_n, table} <- tables, do: figure.(table) end
    seen? = fn figure -> Enum.max(points.(figure)) >= 0.05 end

    shown =
      for([name | _] <- largest.rows, name not in ["all", "ETS", "rest"], do: name)
      |> Enum.filter(fn name -> seen?.(&bytes.(&1, name)) end)
      |> Enum.sort_by(&(-bytes.(largest, &1)))
      |> Enum.take(@parts - 1)

    rest = fn table ->
      bytes.(table, "all") - Enum.sum(for name <- shown, do: bytes.(table, name))
    end

    series =
      for {name, colour} <- Enum.with_index(shown) do
        %{name: name, points: points.(&bytes.(&1, name)), colour: colour}
      end

    others = %{name: "the rest", points: points.(rest), colour: @parts - 1}

    ets =
      Enum.map_join(tables, ", ", fn {n, table} ->
        "#{Numbers.cell(bytes.(table, "ETS"))} with #{Numbers.count(n)}"
      end)

    %{
      id: "bytes",
      kind: :bars,
      title: "Bytes per key by part",
      text:
        "What a key takes after a compaction; less is better. With the same rows ETS takes " <>
          "#{ets} keys.",
      x: %{title: "bytes per key", scale: :linear, unit: "B"},
      y: %{title: "keys", scale: :category},
      categories: for({n, _table} <- tables, do: Numbers.count(n)),
      series: if(seen?.(rest), do: series ++ [others], else: series)
    }
  end

  # The two largest numbers of keys: with more, lines hide each other.
  defp throughput(tables) do
    pairs = tables |> Enum.take(-2) |> Enum.reverse() |> Enum.with_index()
    millions = fn nanoseconds -> 1.0e3 / nanoseconds end

    series =
      for {{n, table}, colour} <- pairs, column <- ["LsmIndex", "ETS"] do
        points =
          for size <- @batches do
            [size, millions.(Tables.figure!(table, "batch of #{size}, per key", column))]
          end

        name = "#{column}, #{Numbers.count(n)} keys"
        %{name: name, points: points, colour: colour, dashed: column == "ETS"}
      end

    %{
      id: "throughput",
      kind: :line,
      title: "Throughput by batch size",
      text:
        "How many keys a second one process looks up with `get_many/2`, by how many keys it asks " <>
          "for in a call; higher is better. ETS is asked for one key after the other.",
      x: %{title: "keys in a call", scale: :log},
      y: %{title: "million keys a second", scale: :linear, unit: "M/s"},
      series: Enum.sort_by(series, & &1.dashed)
    }
  end
end
