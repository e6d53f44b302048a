defmodule LsmIndex.Postgres do
  @moduledoc """
  Reads the text that PostgreSQL prints for a value, as logical replication delivers it.

  Parsing is strict: text that PostgreSQL would not print (or accept as an unambiguous literal)
  gives `:error`, never a guess. Dates and times are read in the `ISO` date style, to the
  microsecond, over PostgreSQL's whole range.

  | type | text | value |
  |---|---|---|
  | `:int2` `:int4` `:int8` | `-42` | integer in the type's range |
  | `:float4` `:float8` | `1.5`, `1e-05`, `NaN`, `-Infinity` | float, `:nan`, `:infinity`, `:neg_infinity` |
  | `:numeric` | `42`, `1.50`, `NaN`, `Infinity` | integer, `t:decimal/0`, `:nan`, `:infinity`, `:neg_infinity` |
  | `:bool` | `t`, `f`, `true`, `false` | boolean |
  | `:text` `:varchar` `:bpchar` `:name` | any bytes | the same bytes, padding included |
  | `:uuid` | every form PostgreSQL accepts | 16-byte binary |
  | `:date` | `2024-02-29`, `0044-03-15 BC`, `infinity` | `Date`, `:infinity`, `:neg_infinity` |
  | `:time` | `12:34:56.789`, `24:00:00` | `Time` |
  | `:timestamp` | `2024-02-29 12:34:56.789` | `NaiveDateTime`, `:infinity`, `:neg_infinity` |
  | `:timestamptz` | `2024-02-29 12:34:56+05:30` | `DateTime`, `:infinity`, `:neg_infinity` |

  PostgreSQL's years and hours reach further than Elixir's calendar: year 12000 and the time
  `24:00:00` come back in the same structs, which `LsmIndex.Key` takes, though functions such as
  `Date.add/2` may not. A `timestamptz` keeps the offset it was printed with.
  """

  alias LsmIndex.Postgres.{Calendar, Number}

  @types ~w(int2 int4 int8 float4 float8 numeric bool text varchar bpchar name uuid
            date time timestamp timestamptz)a

  @typedoc "A number of any length: `sign * digits * 10 ** exponent`, the digits as text."
  @type decimal ::
          {:decimal, sign :: 1 | -1, digits :: String.t(), exponent :: integer}

  @type value ::
          number
          | decimal
          | boolean
          | :nan
          | :infinity
          | :neg_infinity
          | binary
          | Date.t()
          | Time.t()
          | NaiveDateTime.t()
          | DateTime.t()

  @doc """
  The types that `parse/2` knows.

      iex> :timestamptz in LsmIndex.Postgres.types()
      true
  """
  @spec types() :: [atom]
  def types, do: @types

  @doc """
  Reads `text` as a value of `type`, one of `types/0`.

      iex> LsmIndex.Postgres.parse(:int2, "-42")
      {:ok, -42}

      iex> LsmIndex.Postgres.parse(:int2, "32768")
      :error

      iex> LsmIndex.Postgres.parse(:numeric, "1.50")
      {:ok, {:decimal, 1, "150", -2}}

      iex> LsmIndex.Postgres.parse(:timestamp, "2024-02-29 12:34:56.789")
      {:ok, ~N[2024-02-29 12:34:56.789]}
  """
  @spec parse(type :: atom, text :: binary) :: {:ok, value} | :error
  def parse(:int8, text), do: Number.integer(text, -0x8000_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF)
  def parse(:int4, text), do: Number.integer(text, -0x8000_0000, 0x7FFF_FFFF)
  def parse(:int2, text), do: Number.integer(text, -0x8000, 0x7FFF)
  def parse(:text, text), do: {:ok, text}
  def parse(:varchar, text), do: {:ok, text}
  def parse(:bpchar, text), do: {:ok, text}
  def parse(:name, text), do: {:ok, text}
  def parse(:uuid, text), do: uuid(text)
  def parse(:float4, text), do: Number.float(text)
  def parse(:float8, text), do: Number.float(text)
  def parse(:numeric, text), do: Number.numeric(text)
  def parse(:bool, text), do: bool(text)
  def parse(:date, text), do: Calendar.date(text)
  def parse(:time, text), do: Calendar.time(text)
  def parse(:timestamp, text), do: Calendar.timestamp(text)
  def parse(:timestamptz, text), do: Calendar.timestamptz(text)

  defp bool("t"), do: {:ok, true}
  defp bool("f"), do: {:ok, false}
  defp bool("true"), do: {:ok, true}
  defp bool("false"), do: {:ok, false}
  defp bool(_text), do: :error

  # The form PostgreSQL prints is read in place. The others it accepts (braces, hyphens left out
  # or set after any four digits) are brought into that form first.
  defp uuid(
         <<a::binary-size(8), ?-, b::binary-size(4), ?-, c::binary-size(4), ?-, d::binary-size(4),
           ?-, e::binary-size(12)>>
       ) do
    uuid(a, b, c, d, e)
  end

  defp uuid(<<?{, rest::binary>>) do
    size = byte_size(rest) - 1

    if size >= 32 and :binary.last(rest) == ?},
      do: uuid_groups(binary_part(rest, 0, size), []),
      else: :error
  end

  defp uuid(text), do: uuid_groups(text, [])

  defp uuid_groups(<<group::binary-size(4), ?-, rest::binary>>, groups) when rest != "",
    do: uuid_groups(rest, [group | groups])

  defp uuid_groups(<<group::binary-size(4), rest::binary>>, groups),
    do: uuid_groups(rest, [group | groups])

  defp uuid_groups("", [h, g, f, e, d, c, b, a]),
    do: uuid(a <> b, c, d, e, f <> g <> h)

  defp uuid_groups(_text, _groups), do: :error

  defp uuid(a, b, c, d, e) do
    with a when a != :error <- hex(a, 0),
         b when b != :error <- hex(b, 0),
         c when c != :error <- hex(c, 0),
         d when d != :error <- hex(d, 0),
         e when e != :error <- hex(e, 0) do
      {:ok, <<a::32, b::16, c::16, d::16, e::48>>}
    end
  end

  defp hex(<<digit, rest::binary>>, n) when digit in ?0..?9, do: hex(rest, n * 16 + digit - ?0)
  defp hex(<<digit, rest::binary>>, n) when digit in ?a..?f, do: hex(rest, n * 16 + digit - 87)
  defp hex(<<digit, rest::binary>>, n) when digit in ?A..?F, do: hex(rest, n * 16 + digit - 55)
  defp hex(<<>>, n), do: n
  defp hex(_text, _n), do: :error
end
