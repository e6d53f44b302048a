defmodule Bench.Report.Tables do
  @moduledoc false
  # Reads the tables that benches wrote (see Bench.Table), and finds figures in them. What is not
  # there ends the report, so that no plot is drawn of less than it says.

  defstruct [:title, :header, :rows]

  @doc "The tables of a file, in their order."
  def read!(file) do
    for block <- file |> File.read!() |> String.split("\n\n", trim: true) do
      [title, header | rows] = String.split(block, "\n", trim: true)
      header = String.split(header, "\t")
      # A revision may look like a number, and what was run is not one.
      rows =
        if title == "Run",
          do: Enum.map(rows, &String.split(&1, "\t")),
          else: Enum.map(rows, &cells/1)

      for row <- rows, length(row) != length(header) do
        raise "#{file}: “#{title}” has a row of another length: #{inspect(row)}"
      end

      %__MODULE__{title: title, header: header, rows: rows}
    end
  end

  @doc """
  Those whose title matches the pattern, as `{number, table}`, ascending: the number is what the
  pattern captures last, as in `~r/(\\d+) keys/`.
  """
  def by_number!(tables, pattern) do
    found =
      for table <- tables, [_ | _] = match <- [Regex.run(pattern, table.title)] do
        {match |> List.last() |> String.to_integer(), table}
      end

    if found == [], do: raise("no table is called as in #{inspect(pattern)}")
    Enum.sort_by(found, &elem(&1, 0))
  end

  @doc "The figure where this row and this column meet."
  def figure!(%__MODULE__{title: title, header: header, rows: rows}, row, column) do
    with [_ | _] = cells <- Enum.find(rows, &(hd(&1) == row)),
         place when is_integer(place) <- Enum.find_index(header, &(&1 == column)),
         figure when is_number(figure) <- Enum.at(cells, place) do
      figure
    else
      _nothing -> raise "“#{title}” has no figure of “#{row}” in the column “#{column}”"
    end
  end

  @doc "To which side each column goes: `:left` for labels and words, `:right` for figures."
  def sides(%__MODULE__{header: header, rows: rows}) do
    for place <- 0..(length(header) - 1) do
      if Enum.any?(rows, &is_number(Enum.at(&1, place))), do: :right, else: :left
    end
  end

  defp cells(line) do
    [label | cells] = String.split(line, "\t")
    # An indented row is part of the one above; blanks that stay say so.
    [String.replace(label, ~r/^ +/, "\u00A0\u00A0") | Enum.map(cells, &cell/1)]
  end

  defp cell("-"), do: nil

  defp cell(text) do
    with :error <- whole(text, &Integer.parse/1), :error <- whole(text, &Float.parse/1), do: text
  end

  defp whole(text, parse) do
    case parse.(text) do
      {number, ""} -> number
      _not_all_of_it -> :error
    end
  end
end
