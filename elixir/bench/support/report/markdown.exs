defmodule Bench.Report.Markdown do
  @moduledoc false
  # The report as docs/benchmarks.md.

  alias Bench.Report.{Numbers, Tables}

  @pictures """
  [![All plots on a screen as narrow as a phone's, light and dark](benchmarks.png)](benchmarks.html)

  On a larger screen: [benchmarks-desktop.png](benchmarks-desktop.png).
  """

  def render(report) do
    [
      "# Benchmarks\n\n",
      "Written by `make report`, which runs the benches and makes these tables and ",
      "[a page with plots](benchmarks.html) of what they measured; the page is one file and needs ",
      "no network. Such figures depend on the machine: trust ratios more than nanoseconds.\n\n",
      "- [Machine and versions](#machine-and-versions)\n- [Plots](#plots)\n",
      for(bench <- report.benches, do: ["- [", bench.name, "](#", anchor(bench.name), ")\n"]),
      "\n## Machine and versions\n\n",
      table(["", ""], report.facts, [:left, :left]),
      "\n## Plots\n\n",
      @pictures,
      Enum.map(report.benches, &bench/1)
    ]
  end

  defp bench(bench) do
    [
      ["\n## ", bench.name, "\n\n", bench.text, "\n\n"],
      ["On ", bench.run["date"], ", revision ", bench.run["revision"]],
      [
        ", in ",
        duration(String.to_integer(bench.run["seconds"])),
        ", from `",
        directory(bench),
        "`:\n\n"
      ],
      ["    ", bench.run["command"], "\n"],
      for {table, sentence} <- bench.tables do
        title = Numbers.spaced(table.title, " ")

        [
          "\n### ",
          title,
          "\n\n",
          sentence,
          "\n\n",
          table(table.header, table.rows, Tables.sides(table))
        ]
      end
    ]
  end

  defp directory(%{run: %{"directory" => "."}}), do: "./"
  defp directory(%{run: %{"directory" => directory}}), do: directory <> "/"

  defp duration(seconds) when seconds < 100, do: "#{seconds} s"
  defp duration(seconds), do: "#{round(seconds / 60)} min"

  defp table(header, rows, sides) do
    rule = Enum.map(sides, fn side -> if side == :left, do: "---", else: "---:" end)
    for row <- [header, rule | Enum.map(rows, &cells/1)], do: line(row)
  end

  defp cells(row) when is_tuple(row), do: row |> Tuple.to_list() |> cells()
  defp cells(row), do: Enum.map(row, &(&1 |> Numbers.cell() |> escaped()))

  defp line(cells), do: ["| ", Enum.intersperse(cells, " | "), " |\n"]

  defp escaped(text), do: String.replace(text, "|", "\\|")

  # As GitHub makes them.
  defp anchor(title) do
    title
    |> String.downcase()
    |> String.replace(~r/[^\w\- ]/u, "")
    |> String.replace(" ", "-")
  end
end
