defmodule Bench.Report.Benches do
  @moduledoc false
  # What each bench measures and how to read it, and the tables of those that were run.

  alias Bench.Report.Tables

  # A sentence or two for each bench, and for each kind of table, told by its title.
  @benches [
    %{
      id: "route_index",
      name: "Beside ETS and Map",
      text:
        "The same keys in an index on disk, in an ETS table with the rows of the sync service's " <>
          "equality index, and in a Map. Keys are looked up at random; every subject of a row is " <>
          "measured in turns with the others, and a figure is the median of the rounds.",
      tables: [
        {~r/^\d+ keys/,
         "The second column is LsmIndex as a share of ETS: below 1 it is faster, or smaller. The " <>
           "target is the most that this share may be, or where ETS has no figure, the most that " <>
           "LsmIndex may take."},
        {~r/^Bytes per key/,
         "After a compaction, what each key takes in the sections of segments and besides " <>
           "(docs/format.md says what sections hold)."}
      ]
    },
    %{
      id: "churn",
      name: "In churn",
      text:
        "One process looks up random keys and takes the time of every call, while another replaces " <>
          "keys: a tenth of all in a minute, then as many as it can. In turns with the look-ups " <>
          "it makes a call that takes as long as a look-up of an index at rest and does without one, " <>
          "on the same busy cores and as likely to be interrupted: by how much that exceeds its " <>
          "median is the machine's and the VM's doing, and what remains of a look-up's time is the " <>
          "index's.",
      tables: [
        {~r/^Look-ups in churn/, "The target is the most that the index may take."},
        {~r/^What the changes/,
         "What the changes cost in the background, and what they leave behind."}
      ]
    },
    %{
      id: "hot_keys",
      name: "Keys with many ids",
      text:
        "One key that leads to many ids, among 100\u00A0000 others, beside the two kinds of ETS tables " <>
          "that have such keys. A bag of a million is left out: it takes hours to fill.",
      tables: [{~r/^A key with/, "Less is better in all rows."}]
    },
    %{
      id: "cold",
      name: "Cold files",
      text:
        "The first look-ups after the system has forgotten the index's files, by where segments " <>
          "are kept, beside reads of a page at random.",
      tables: [
        {~r/^Cold files/,
         "A look-up reads up to four pages one after the other, so it should take no longer than " <>
           "four of the reads in the last row."}
      ]
    },
    %{
      id: "durability",
      name: "Durability",
      text: "The same changes with each durability, in indexes on disk.",
      tables: [
        {~r/./,
         "The second column is what the log costs (`:os` as a multiple of `:memory`), the target " <>
           "the most that it may; `:sync` waits for the disk."}
      ]
    },
    %{
      id: "filter",
      name: "The filter's equality index",
      text:
        "The equality index of the sync service's filter on LsmIndex, and a double of the one in " <>
          "ETS with its rows, both called as the filter calls them.",
      tables: [
        {~r/./,
         "The second column is LsmIndex as a share of ETS; a target without a unit is the most " <>
           "that it may be."}
      ]
    },
    %{
      id: "peers",
      name: "Beside what else Elixir has",
      text:
        "The same keys in LsmIndex on disk and in memory, in ETS with three forms of rows, in a " <>
          "Map, in persistent terms and in DETS.",
      tables: [
        {~r/./, "An empty cell is what a subject does not have, or has no figure of."}
      ]
    },
    %{
      id: "engines",
      name: "The engine beside other engines",
      text:
        "The engine alone, without Elixir, and storage engines for Rust, each with what its " <>
          "documentation advises; medians of the rounds, which take a process of its own for each.",
      tables: [
        {~r/^The same/,
         "The last columns are LsmIndex as a share of the best of the others that outlive the " <>
           "process: below 1 it is faster, or smaller. Caches are warm; hits share one read " <>
           "transaction, except in the second row."},
        {~r/^The peers/, "Versions, and where settings differ from the defaults."}
      ]
    }
  ]

  @doc """
  The benches that left a file `id.tsv` in the directory, each with `:run` (what was run, as a map),
  `:tables` (as `{table, sentence}`, to be shown) and `:data` (all tables).
  """
  def read!(directory) do
    for bench <- @benches,
        file = Path.join(directory, bench.id <> ".tsv"),
        there?(file) do
      [%Tables{title: "Run", rows: run} | tables] = Tables.read!(file)

      shown =
        for table <- tables, not histogram?(table), do: {full(table), sentence!(bench, table)}

      Map.merge(bench, %{
        run: Map.new(run, fn [what, value] -> {what, value} end),
        tables: shown,
        data: tables
      })
    end
  end

  @doc "The tables of one bench, which has to be there."
  def tables!(benches, id) do
    case Enum.find(benches, &(&1.id == id)) do
      nil -> raise "there are no tables of #{id}"
      bench -> bench.data
    end
  end

  defp there?(file) do
    unless File.exists?(file), do: IO.puts(:stderr, "report: no #{Path.basename(file)}, left out")
    File.exists?(file)
  end

  # Without the columns that have nothing in them.
  defp full(%Tables{header: header, rows: rows} = table) do
    columns = for column <- Enum.zip([header | rows]), do: Tuple.to_list(column)
    columns = Enum.filter(columns, fn [_title | cells] -> Enum.any?(cells, &(&1 != nil)) end)
    [header | rows] = Enum.zip_with(columns, & &1)
    %{table | header: header, rows: rows}
  end

  # For a plot, and too long to read.
  defp histogram?(table), do: String.starts_with?(table.title, "Histogram")

  defp sentence!(bench, table) do
    case Enum.find(bench.tables, fn {pattern, _sentence} -> table.title =~ pattern end) do
      nil -> raise "nothing says what this table of #{bench.id} is: “#{table.title}”"
      {_pattern, sentence} -> sentence
    end
  end
end
