defmodule Bench.Histogram do
  @moduledoc false
  # Counts durations in buckets of 1/32 of their size, so that taking one makes no garbage and
  # takes no longer the more there are. Processes may share one.

  import Bitwise

  @sub 5
  @buckets 64 <<< @sub

  def new, do: :counters.new(@buckets, [:write_concurrency])

  @doc "Counts one duration, in nanoseconds."
  def add(histogram, duration), do: :counters.add(histogram, bucket(duration) + 1, 1)

  @doc "The duration that this share of all is not above, in nanoseconds, to 3 in 100."
  def quantile(histogram, share) do
    total = count(histogram)
    rank = max(ceil(total * share), 1)

    Enum.reduce_while(0..(@buckets - 1), 0, fn bucket, seen ->
      seen = seen + :counters.get(histogram, bucket + 1)
      if seen >= rank, do: {:halt, upper(bucket)}, else: {:cont, seen}
    end)
  end

  def count(histogram) do
    Enum.sum(for bucket <- 1..@buckets, do: :counters.get(histogram, bucket))
  end

  @doc "`{duration, count}` of each bucket that has any, ascending."
  def buckets(histogram) do
    for bucket <- 0..(@buckets - 1),
        count = :counters.get(histogram, bucket + 1),
        count > 0,
        do: {upper(bucket), count}
  end

  defp bucket(duration) when duration < 1 <<< @sub, do: max(duration, 0)

  defp bucket(duration) do
    shift = bits(duration, 0) - @sub - 1
    (shift + 1) * (1 <<< @sub) + (duration >>> shift) - (1 <<< @sub)
  end

  defp bits(0, bits), do: bits
  defp bits(number, bits) when number >= 1 <<< 16, do: bits(number >>> 16, bits + 16)
  defp bits(number, bits), do: bits(number >>> 1, bits + 1)

  defp upper(bucket) when bucket < 1 <<< @sub, do: bucket

  defp upper(bucket) do
    shift = (bucket >>> @sub) - 1
    (((bucket &&& (1 <<< @sub) - 1) + (1 <<< @sub) + 1) <<< shift) - 1
  end
end
