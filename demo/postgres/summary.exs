defmodule Demo.Postgres.Summary do
  @moduledoc """
  What the live demo prints at its end.
  """

  import Demo.Report, only: [number: 1]

  @spec print(map(), map(), time :: pos_integer(), Demo.Postgres.Check.verdict()) :: :ok
  def print(settings, routing, time, verdict) do
    %{n: n, kinds: kinds, added: added, removed: removed} = routing

    IO.puts("""

    changes      #{number(n)} in #{number(routing.transactions)} transactions: \
    #{number(kinds.insert)} inserts, #{number(kinds.update)} updates, #{number(kinds.delete)} deletes
    shapes       about #{number(settings.shapes)}; meanwhile #{number(added)} added and \
    #{number(removed)} removed, #{micro(routing.churned, added + removed)} µs each
    pairs        #{number(verdict.expected)} of a change and a shape, expected by SQL
    #{Enum.map_join(verdict.types, "\n", &type/1)}
      edges      #{number(verdict.edge)} with the first or the last change of the shape's life; \
    #{number(verdict.miss)} just missed
    differences  #{number(verdict.differences)}
    throughput   #{rate(n, time * 1000)} changes per second end to end \
    (load, stream, reading, routing, log), #{rate(n, verdict.time.sum)} while routing only
    latency      of routing one change, in µs: p50 #{micro(verdict.time.p50)}, \
    p99 #{micro(verdict.time.p99)}, max #{micro(verdict.time.max)}
    """)
  end

  defp type({field, type, count}) do
    "  " <> String.pad_trailing(field, 11) <> "#{number(count)} by #{type}"
  end

  defp rate(n, nanoseconds), do: number(round(n * 1_000_000_000 / nanoseconds))

  defp micro(nanoseconds, count \\ 1)
  defp micro(_nanoseconds, 0), do: "0"

  defp micro(nanoseconds, count),
    do: :erlang.float_to_binary(nanoseconds / count / 1000, decimals: 1)
end
