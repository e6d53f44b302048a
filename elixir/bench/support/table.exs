defmodule Bench.Table do
  @moduledoc false
  # Plain text tables: the first column to the left, the others to the right. If the environment
  # variable LSM_BENCH_TABLES names a file, they are appended to it too, with all digits, for
  # bench/report.exs to read: a line with the title, then the header and each row with tabs in
  # between, then an empty line.

  def print(title, header, rows) do
    save(title, header, rows)
    rows = Enum.map([header | rows], fn row -> Enum.map(row, &cell/1) end)

    widths =
      rows
      |> Enum.zip_with(& &1)
      |> Enum.map(fn cells -> cells |> Enum.map(&String.length/1) |> Enum.max() end)

    [header | rows] = Enum.map(rows, &line(&1, widths))
    IO.puts(["\n", title, "\n", header, "\n", String.duplicate("-", String.length(header))])
    Enum.each(rows, &IO.puts/1)
  end

  @doc "Only to the file, if there is to be one: for what is too long to read."
  def save(title, header, rows) do
    with file when is_binary(file) <- System.get_env("LSM_BENCH_TABLES") do
      lines =
        Enum.map([header | rows], fn row -> [Enum.map_intersperse(row, ?\t, &raw/1), ?\n] end)

      File.write!(file, [title, ?\n, lines, ?\n], [:append])
    end
  end

  defp raw(nil), do: "-"
  defp raw(text_or_number), do: to_string(text_or_number)

  defp line([first | rest], [width | widths]) do
    rest = Enum.zip_with(rest, widths, &String.pad_leading/2)
    Enum.join([String.pad_trailing(first, width) | rest], "  ")
  end

  defp cell(nil), do: "-"
  defp cell(text) when is_binary(text), do: text

  defp cell(number) when is_float(number) and number < 10,
    do: :erlang.float_to_binary(number, decimals: 2)

  defp cell(number) when is_float(number) and number < 100,
    do: :erlang.float_to_binary(number, decimals: 1)

  defp cell(number) when is_float(number), do: number |> round() |> Integer.to_string()
  defp cell(number), do: to_string(number)
end
