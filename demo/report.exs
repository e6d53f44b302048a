defmodule Demo.Report do
  @moduledoc """
  What the demo prints.
  """

  @doc "Says what comes next, as it may take a while."
  @spec step(String.t()) :: :ok
  def step(text), do: IO.puts("… " <> text)

  @doc "A number with its thousands apart: `1 000 000`."
  @spec number(non_neg_integer()) :: String.t()
  def number(n) do
    n |> Integer.to_string() |> String.replace(~r/\B(?=(\d{3})+$)/, " ")
  end

  @spec print(map()) :: :ok
  def print(%{changes: changes, shapes: shapes, lsm: lsm, ets: ets} = facts) do
    kinds = Enum.frequencies_by(changes, & &1.kind)
    count = length(changes)
    columns = Enum.map_join(facts.columns, ", ", fn {name, type} -> "#{name} #{type}" end)

    IO.puts("""

    shapes   #{number(shapes)} over #{columns}
    changes  #{number(count)}: #{number(kinds.insert)} inserts, #{number(kinds.update)} updates, \
    #{number(kinds.delete)} deletes; #{number(facts.rows)} rows
    matches  #{number(facts.matches)} shapes found, all as ETS finds them, \
    and on #{facts.sample} changes as trying every clause does
    """)

    table([
      ["", "LsmEqualityIndex", "ETS", "ratio"],
      row("load, s", lsm.load, ets.load, 1_000_000),
      ["compact, s", decimal(lsm.compact / 1_000_000), "", ""],
      row("route, µs per change", lsm.route, ets.route, count),
      row("memory, bytes per shape", sum(lsm.bytes), sum(ets.bytes), shapes),
      row("  of these for keys", lsm.bytes.keys, ets.bytes.keys, shapes),
      row("  of these for shape ids", lsm.bytes.ids, ets.bytes.ids, shapes),
      ["files, bytes per shape", decimal(lsm.disk / shapes), "", ""],
      row("reopen (ETS: load again), ms", lsm.reopen, ets.reopen, 1_000)
    ])
  end

  defp row(name, lsm, ets, unit) do
    [name, decimal(lsm / unit), decimal(ets / unit), decimal(lsm / ets)]
  end

  defp sum(%{keys: keys, ids: ids}), do: keys + ids

  defp table(rows) do
    for [name | cells] <- rows do
      cells =
        cells
        |> Enum.zip([16, 10, 8])
        |> Enum.map(fn {c, width} -> String.pad_leading(c, width) end)

      IO.puts([String.pad_trailing(name, 30) | cells])
    end

    :ok
  end

  defp decimal(value) when value >= 1_000, do: value |> round() |> number()
  defp decimal(value) when value >= 100, do: value |> Float.round(0) |> trunc() |> number()
  defp decimal(value) when value >= 1, do: :erlang.float_to_binary(value / 1, decimals: 1)
  defp decimal(value), do: :erlang.float_to_binary(value / 1, decimals: 3)
end
