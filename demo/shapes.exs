defmodule Demo.Shapes do
  @moduledoc """
  Makes the shapes that the demo subscribes: clauses `column = constant`, each with an id of the
  form that the sync service gives, `"113048491-1732400000000000"`.

  Four in five of the values that occur in the recording get shapes, a few of them many; the rest
  of the shapes waits for values which never come.
  """

  @type type :: :int4 | :int8 | :text | :uuid
  @type column :: {name :: String.t(), type()}
  @type constant :: integer() | binary()
  @type shapes :: %{column() => [{constant(), shape_id :: String.t()}]}

  @doc "`count` shapes over `columns`; `rows` are those of the recording."
  @spec build([column()], [Demo.TestDecoding.row()], pos_integer()) :: shapes()
  def build(columns, rows, count) do
    awaited = Enum.flat_map(columns, &awaited(&1, rows))
    waiting = columns |> Stream.cycle() |> Stream.with_index() |> Stream.map(&never/1)

    awaited
    |> Stream.concat(waiting)
    |> Stream.take(count)
    |> Stream.with_index()
    |> Enum.group_by(&column/1, fn {{_column, constant}, n} -> {constant, id(n)} end)
  end

  @doc "How many shapes there are."
  @spec count(shapes()) :: non_neg_integer()
  def count(shapes), do: shapes |> Map.values() |> Enum.map(&length/1) |> Enum.sum()

  defp awaited({name, type} = column, rows) do
    values = for %{^name => text} when is_binary(text) <- rows, uniq: true, do: text

    for {text, n} <- values |> Enum.sort() |> Enum.with_index(),
        _ <- 1..subscribers(n)//1,
        do: {column, constant(type, text)}
  end

  defp subscribers(n) when rem(n, 5) == 0, do: 0
  defp subscribers(n) when rem(n, 100) == 1, do: 40
  defp subscribers(n), do: 1 + rem(n, 3)

  defp never({{_name, type} = column, n}), do: {column, absent(type, n)}

  # No value of the recording looks like these.
  defp absent(:int4, n), do: 1_000_000 + n
  defp absent(:int8, n), do: 9_000_000_000 + n
  defp absent(:text, n), do: "subscriber-#{n}@example.org"
  defp absent(:uuid, n), do: :erlang.md5("subscriber #{n}")

  # Numbers arrive as integers and a uuid as its 16 bytes, as in the sync service.
  defp constant(type, text) when type in [:int4, :int8], do: String.to_integer(text)
  defp constant(:text, text), do: text
  defp constant(:uuid, text), do: text |> String.replace("-", "") |> Base.decode16!(case: :lower)

  defp column({{column, _constant}, _n}), do: column

  defp id(n), do: "#{100_000_000 + :erlang.phash2(n)}-#{1_732_400_000_000_000 + n}"
end
