defmodule LsmIndex.Test.Electric.Eval do
  @moduledoc """
  Decides what shapes a record is in, one shape after the other: what every index is held against.

  It reads text and compares values by simple means of its own, and must never use `LsmIndex.Key`
  or `LsmIndex.Postgres`: it would not find their mistakes then.
  """

  @typedoc "A where clause. `nil` is none, and holds for every record."
  @type where ::
          nil
          | equality
          | {:in, field, type, values :: [term]}
          | {:and, where, where}
          | {:or, where, where}
          | {:other, (record -> boolean) | {:gt | :lt, field, type, value :: term}}

  @type equality :: {:eq, field, type, value :: term}
  @type field :: String.t()
  @type type :: atom
  @type record :: %{optional(field) => String.t() | nil}

  @int_bits %{int2: 16, int4: 32, int8: 64}
  @text_types ~w(text varchar bpchar name)a
  @float_types ~w(float4 float8 numeric)a

  @doc """
  Reads the text of a value the way the service does.

  All numbers with a fraction are floats, so `numeric` is no more exact than they are, and text that
  no float can hold, such as `NaN`, is an error. Times keep the precision they were written with.
  """
  @spec parse(type, String.t() | nil) :: {:ok, term} | :error
  def parse(_type, nil), do: {:ok, nil}
  def parse(_type, text) when not is_binary(text), do: :error
  def parse(type, text) when type in @text_types, do: {:ok, text}
  def parse(type, text) when type in @float_types, do: text |> Float.parse() |> whole()
  def parse(type, text) when is_map_key(@int_bits, type), do: integer(text, @int_bits[type])
  def parse(:bool, text) when text in ~w(t true), do: {:ok, true}
  def parse(:bool, text) when text in ~w(f false), do: {:ok, false}
  def parse(:uuid, text), do: uuid(text)
  def parse(:date, text), do: text |> Date.from_iso8601() |> read()
  def parse(:time, text), do: text |> Time.from_iso8601() |> read()
  def parse(:timestamp, text), do: text |> NaiveDateTime.from_iso8601() |> read()
  def parse(:timestamptz, text), do: text |> DateTime.from_iso8601() |> read()
  def parse(_type, _text), do: :error

  @doc "Whether the clause holds for the record; one that cannot be decided does not."
  @spec holds?(where, record) :: boolean
  def holds?(where, record), do: evaluate(where, record) == {:ok, true}

  @doc """
  Decides the clause, or finds that a field it names holds text that doesn't parse.

  What SQL calls unknown is `false` here: no clause is ever negated, so they come to the same.
  """
  @spec evaluate(where, record) :: {:ok, boolean} | :error
  def evaluate(nil, _record), do: {:ok, true}

  def evaluate({:eq, field, type, value}, record),
    do: decide(record, field, type, &equal?(&1, value))

  def evaluate({:in, field, type, values}, record),
    do: decide(record, field, type, fn found -> Enum.any?(values, &equal?(found, &1)) end)

  def evaluate({:other, {order, field, type, value}}, record) when order in [:gt, :lt],
    do: decide(record, field, type, &(not is_nil(value) and compare(&1, value) == order))

  def evaluate({:other, decide}, record) when is_function(decide, 1), do: {:ok, decide.(record)}

  def evaluate({operator, left, right}, record) when operator in [:and, :or] do
    with {:ok, left} <- evaluate(left, record),
         {:ok, right} <- evaluate(right, record) do
      {:ok, if(operator == :and, do: left and right, else: left or right)}
    end
  end

  @doc """
  Whether SQL's `=` holds: numbers by their value, times whatever their precision. Nothing equals
  `nil`.
  """
  @spec equal?(term, term) :: boolean
  def equal?(a, b) when is_nil(a) or is_nil(b), do: false
  def equal?(a, b), do: compare(a, b) == :eq

  defp compare(%module{} = a, %module{} = b), do: module.compare(a, b)
  defp compare(a, b) when a == b, do: :eq
  defp compare(a, b), do: if(a < b, do: :lt, else: :gt)

  defp decide(record, field, type, decide) do
    with {:ok, value} <- parse(type, record[field]) do
      {:ok, not is_nil(value) and decide.(value)}
    end
  end

  defp integer(text, bits) do
    limit = 2 ** (bits - 1)

    case text |> Integer.parse() |> whole() do
      {:ok, number} when number >= -limit and number < limit -> {:ok, number}
      _other -> :error
    end
  end

  defp uuid(<<a::binary-8, ?-, b::binary-4, ?-, c::binary-4, ?-, d::binary-4, ?-, e::binary-12>>),
    do: Base.decode16(a <> b <> c <> d <> e, case: :mixed)

  defp uuid(_text), do: :error

  # All of the text has to be the number.
  defp whole({number, ""}), do: {:ok, number}
  defp whole(_other), do: :error

  defp read({:ok, value}), do: {:ok, value}
  defp read({:ok, value, _offset}), do: {:ok, value}
  defp read({:error, _reason}), do: :error
end
