defmodule LsmIndex.Test.Electric.Random do
  @moduledoc """
  Random clauses and records, over few enough values that they often meet. They follow from the seed
  that ExUnit prints.
  """

  alias LsmIndex.Test.Electric.Eval

  @integers [-(2 ** 63), -1, 0, 1, 2, 3, 10, 2 ** 63 - 1]
  @texts ["", "a", "A", "a ", "ä", <<0xFF, 0>>, "10"]
  @uuids for n <- [0, 1, 2, 0xABCDEF, 2 ** 128 - 1], do: <<n::128>>

  @columns [{"id", :int8}, {"parent", :int8}, {"name", :text}, {"ref", :uuid}]

  @doc "A clause of at most this depth, over the columns `id`, `parent`, `name` and `ref`."
  @spec where(depth :: non_neg_integer) :: Eval.where()
  def where(depth \\ 3)
  def where(0), do: equality()

  def where(depth) do
    case Enum.random(1..20) do
      n when n <= 6 -> equality()
      n when n <= 8 -> list()
      n when n <= 12 -> {:and, equality(), where(depth - 1)}
      13 -> {:and, where(depth - 1), equality()}
      14 -> {:and, list(), where(depth - 1)}
      15 -> {:and, where(depth - 1), where(depth - 1)}
      n when n <= 18 -> {:or, where(depth - 1), where(depth - 1)}
      19 -> comparison()
      20 -> nil
    end
  end

  @doc "A record whose texts all parse; a column may be `nil` or missing."
  @spec record() :: Eval.record()
  def record do
    for {field, type} <- @columns, roll = Enum.random(1..12), roll > 1, into: %{} do
      {field, if(roll > 2, do: type |> value() |> text(type))}
    end
  end

  @doc "A record in which one text at least doesn't parse."
  @spec bad_record() :: Eval.record()
  def bad_record do
    bad = [{"id", "one"}, {"id", ""}, {"parent", "9223372036854775808"}, {"ref", "0-0"}]
    {field, text} = Enum.random(bad)
    Map.put(record(), field, text)
  end

  @doc "A constant of the type `:int8`, `:text` or `:uuid`."
  @spec value(Eval.type()) :: term
  def value(:int8), do: Enum.random(@integers)
  def value(:text), do: Enum.random(@texts)
  def value(:uuid), do: Enum.random(@uuids)

  defp equality do
    {field, type} = Enum.random(@columns)
    {:eq, field, type, value(type)}
  end

  # The same value can be listed twice.
  defp list do
    {field, type} = Enum.random(@columns)
    {:in, field, type, for(_ <- 1..Enum.random(1..4), do: value(type))}
  end

  defp comparison do
    {field, type} = Enum.random(@columns)
    {:other, {Enum.random([:gt, :lt]), field, type, value(type)}}
  end

  defp text(value, :int8), do: Integer.to_string(value)
  defp text(value, :text), do: value

  defp text(value, :uuid) do
    <<a::binary-8, b::binary-4, c::binary-4, d::binary-4, e::binary>> =
      Base.encode16(value, case: Enum.random([:lower, :upper]))

    Enum.join([a, b, c, d, e], "-")
  end
end
