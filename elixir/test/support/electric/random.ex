defmodule LsmIndex.Test.Electric.Random do
  @moduledoc """
  Random clauses and records, over few enough values that they often meet. They follow from the seed
  that ExUnit prints.
  """

  alias LsmIndex.Test.Electric.{Eval, Values}

  @typedoc "The columns that clauses and records are about, each with its type."
  @type columns :: [{Eval.field(), Eval.type()}]

  @columns [{"id", :int8}, {"parent", :int8}, {"name", :text}, {"ref", :uuid}]

  # Several are texts, and none would meet often if it stood alone.
  @all_columns for {type, n} <- Enum.with_index(Values.types()), do: {"c#{n}", type}

  @doc "A column of each type that the evaluation knows."
  @spec all_columns() :: columns
  def all_columns, do: @all_columns

  @doc "A clause of at most this depth, by default over the columns `id`, `parent`, `name` and `ref`."
  @spec where(depth :: non_neg_integer, columns) :: Eval.where()
  def where(depth \\ 3, columns \\ @columns)
  def where(0, columns), do: equality(columns)

  def where(depth, columns) do
    case Enum.random(1..20) do
      n when n <= 6 -> equality(columns)
      n when n <= 8 -> list(columns)
      n when n <= 12 -> {:and, equality(columns), where(depth - 1, columns)}
      13 -> {:and, where(depth - 1, columns), equality(columns)}
      14 -> {:and, list(columns), where(depth - 1, columns)}
      15 -> {:and, where(depth - 1, columns), where(depth - 1, columns)}
      n when n <= 18 -> {:or, where(depth - 1, columns), where(depth - 1, columns)}
      19 -> comparison(columns)
      20 -> nil
    end
  end

  @doc "A record whose texts all parse; a column may be `nil` or missing."
  @spec record(columns) :: Eval.record()
  def record(columns \\ @columns) do
    for {field, type} <- columns, roll = Enum.random(1..12), roll > 1, into: %{} do
      {field, if(roll > 2, do: Values.text(type))}
    end
  end

  @doc "A record in which one text at least doesn't parse."
  @spec bad_record(columns) :: Eval.record()
  def bad_record(columns \\ @columns) do
    {field, type} =
      columns
      |> Enum.filter(fn {_field, type} -> Values.bad_texts(type) != [] end)
      |> Enum.random()

    Map.put(record(columns), field, type |> Values.bad_texts() |> Enum.random())
  end

  defp equality(columns) do
    {field, type} = Enum.random(columns)
    {:eq, field, type, Values.constant(type)}
  end

  # The same value can be listed twice.
  defp list(columns) do
    {field, type} = Enum.random(columns)
    {:in, field, type, for(_ <- 1..Enum.random(1..4), do: Values.constant(type))}
  end

  defp comparison(columns) do
    {field, type} = Enum.random(columns)
    {:other, {Enum.random([:gt, :lt]), field, type, Values.constant(type)}}
  end

  @doc """
  Adds the n-th shape to a filter, or removes one of some dozens. The filter, and its shapes' clauses
  by id.
  """
  def change(module, filter, shapes, n) do
    if map_size(shapes) < 10 or (map_size(shapes) < 60 and Enum.random(1..2) == 1) do
      where = where()
      {module.add_shape(filter, n, "t", where), Map.put(shapes, n, where)}
    else
      {id, _where} = Enum.random(shapes)
      {module.remove_shape(filter, id), Map.delete(shapes, id)}
    end
  end
end
