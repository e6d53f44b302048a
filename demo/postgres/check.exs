defmodule Demo.Postgres.Check do
  @moduledoc """
  Lets SQL decide which shapes every change should have reached, and tells what differs.
  """

  alias Demo.Postgres.Stream

  @type verdict :: %{
          types: [{field :: String.t(), type :: String.t(), pairs :: non_neg_integer()}],
          expected: non_neg_integer(),
          edge: non_neg_integer(),
          miss: non_neg_integer(),
          time: %{(:sum | :p50 | :p99 | :max) => nanoseconds :: non_neg_integer()},
          differences: non_neg_integer(),
          wrong: [String.t()]
        }

  @doc """
  The verdict on the files that the routing left in `directory`. `wrong` says in words what is, the
  first few in detail, and is empty if all is well. A type without a pair was not checked, so that
  is wrong as well.
  """
  @spec run(Path.t()) :: verdict()
  def run(directory) do
    lines =
      ["--file=#{Path.join(__DIR__, "check.sql")}"]
      |> Stream.psql!(cd: directory)
      |> String.split("\n", trim: true)
      |> Enum.map(&String.split(&1, "|"))

    types = for ["type", field, type, pairs] <- lines, do: {field, type, String.to_integer(pairs)}
    times = for ["time" | times] <- lines, time <- times, do: String.to_integer(time)
    details = for ["detail" | words] <- lines, do: Enum.join(words, "|")
    counts = for [name, count] <- lines, name != "detail", into: %{}, do: {name, count}
    count = fn name -> counts |> Map.fetch!(name) |> String.to_integer() end

    wrong =
      for({field, type, 0} <- types, do: "no pair of #{field} #{type}") ++
        for {name, what} <- [
              {"unstreamed", "changes that were not streamed as they happened"},
              {"missing", "pairs that routing missed"},
              {"surplus", "pairs that are not in SQL"}
            ],
            count.(name) > 0,
            do: "#{count.(name)} #{what}"

    %{
      types: types,
      expected: count.("expected"),
      edge: count.("edge"),
      miss: count.("miss"),
      differences: Enum.sum(Enum.map(["unstreamed", "missing", "surplus"], count)),
      time: [:sum, :p50, :p99, :max] |> Enum.zip(times) |> Map.new(),
      wrong: wrong ++ details
    }
  end
end
