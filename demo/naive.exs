defmodule Demo.Naive do
  @moduledoc """
  Answers by trying every clause on every row: slow, and hard to get wrong.

  It shares nothing with the index: instead of reading a row's text, it writes each constant the
  way that PostgreSQL prints it, and compares the two texts.
  """

  @doc """
  For each of `changes`, given as `{number, rows}`: the set of shapes that have one of its rows.
  """
  @spec affected(Demo.Shapes.shapes(), [{number, [Demo.TestDecoding.row()]}]) ::
          %{number => MapSet.t()}
        when number: non_neg_integer()
  def affected(shapes, changes) do
    hits =
      for {{field, type}, pairs} <- shapes,
          values = for({n, rows} <- changes, %{^field => text} <- rows, do: {text, n}),
          {constant, shape_id} <- pairs,
          printed = printed(type, constant),
          {text, n} <- values,
          text == printed,
          do: {n, shape_id}

    none = Map.new(changes, fn {n, _rows} -> {n, MapSet.new()} end)
    Enum.reduce(hits, none, fn {n, id}, sets -> Map.update!(sets, n, &MapSet.put(&1, id)) end)
  end

  defp printed(:text, text), do: text

  defp printed(:uuid, <<a::32, b::16, c::16, d::16, e::48>>) do
    Enum.map_join([{a, 8}, {b, 4}, {c, 4}, {d, 4}, {e, 12}], "-", fn {part, digits} ->
      part |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(digits, "0")
    end)
  end

  defp printed(_integer, number), do: Integer.to_string(number)
end
