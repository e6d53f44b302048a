defmodule LsmIndex.Key do
  @moduledoc """
  Turns a constant, or the text PostgreSQL prints for a value, into the bytes that an
  `LsmEqualityIndex` files it under.

  Values that are equal in SQL give equal bytes, and no others do: `1`, `1.0` and the numeric `1.00`
  share a key, so do `0.0` and `-0.0`, `12:00:00.5` and `12:00:00.500000`. `nil` has no key, because
  in SQL nothing equals it.

  ## The bytes

  Keys are stored, so this table may be added to, never changed. Integers are big-endian.

  | first byte | kind | the rest |
  |---|---|---|
  | `00` | `nil`, inside a container only | nothing |
  | `01` | number without a fraction, from -2^63 to 2^63-1 | 8 bytes, two's complement |
  | `02` | every other number | sign `+` or `-`; exponent, 8 bytes, two's complement; the decimal digits as text, the first and the last of them not `0`. The number is digits × 10^exponent |
  | `03` | not a finite number, or not a finite time | `00` NaN, `01` infinity, `02` minus infinity |
  | `04` | boolean | `00` false, `01` true |
  | `05` | other atom | its name, UTF-8 |
  | `06` | text | the text |
  | `07` | uuid | 16 bytes |
  | `08` | date | days since 2000-01-01, 8 bytes, two's complement |
  | `09` | time of day | microseconds since midnight, 8 bytes |
  | `0A` | timestamp | microseconds since 2000-01-01 00:00:00, 8 bytes, two's complement |
  | `0B` | timestamp with time zone | the same, of the instant in UTC |
  | `0C` | list | each element's key behind its length, 4 bytes |
  | `0D` | tuple | as a list |
  | `0E` | map or struct | each pair as the tuple of key and value, behind its length, 4 bytes; the pairs sorted by their bytes |
  | `0F` | bits that are no whole number of bytes | the number of bits in the last byte, 1 byte; the bits, filled up with zeros |
  | `FF` | whatever would be longer than 65 535 bytes | SHA-256 of the key that it would have been, 32 bytes |

  ## What a type accepts

  The types of `LsmIndex.Postgres` accept the constants that SQL could compare with them, and text,
  which is read as SQL reads a literal: `"42"` under `:int8` is 42. Under `:uuid` a binary of 16
  bytes is the uuid itself. The numeric types accept integers, floats, `Decimal` structs and the
  atoms `:nan`, `:infinity` and `:neg_infinity`; the last two are dates and timestamps as well.

  A float stands for the shortest decimal that reads back as it: `0.1` meets the numeric `0.1`.
  Under `:float4` and `:float8`, every number is rounded to a double first.

  Under any other type, each Elixir term has the key of its own kind, and a binary is text. The
  elements of a list under `{:array, type}` are keys under `type`. Pids, ports, references,
  functions and improper lists have no key.
  """

  alias LsmIndex.{Native, Postgres}

  @null 0x00
  @integer 0x01
  @decimal 0x02
  @special 0x03
  @boolean 0x04
  @atom 0x05
  @text 0x06
  @uuid 0x07
  @date 0x08
  @time 0x09
  @timestamp 0x0A
  @timestamptz 0x0B
  @list 0x0C
  @tuple 0x0D
  @map 0x0E
  @bits 0x0F
  @digest 0xFF

  @max_size 65_535
  # Text up to here has a key of its own: that of a number has 10 bytes besides the digits.
  @max_text @max_size - 10

  @text_types [:text, :varchar, :bpchar, :name]
  @exact_types [:int2, :int4, :int8, :numeric]
  @float_types [:float4, :float8]
  @infinite_types [:date, :timestamp, :timestamptz]
  @postgres_types Postgres.types()
  @calendars [Date, Time, NaiveDateTime, DateTime]

  @typedoc "Canonical bytes, #{@max_size} at most."
  @type t :: binary

  defguardp is_int64(n)
            when is_integer(n) and n >= -0x8000_0000_0000_0000 and n <= 0x7FFF_FFFF_FFFF_FFFF

  # Every integer up to here is a double of its own.
  defguardp is_exact_float(n) when n >= -0x20_0000_0000_0000 and n <= 0x20_0000_0000_0000

  @doc """
  The key of a constant. `:error` if `value` is no constant of `type`, and for `nil`.

      iex> LsmIndex.Key.encode(:int8, 42)
      {:ok, <<1, 42::64>>}

      iex> LsmIndex.Key.encode(:numeric, 1.5) == LsmIndex.Key.encode(:numeric, "1.50")
      true

      iex> LsmIndex.Key.encode(:date, ~D[2000-01-02])
      {:ok, <<8, 1::64>>}

      iex> LsmIndex.Key.encode(:int8, nil)
      :error
  """
  @spec encode(type :: term, value :: term) :: {:ok, t} | :error
  def encode(type, value) do
    case key(type, value) do
      :error -> :error
      key when byte_size(key) <= @max_size -> {:ok, key}
      long -> {:ok, <<@digest, :crypto.hash(:sha256, long)::binary>>}
    end
  end

  @doc """
  The key of the value that PostgreSQL prints as `text`. `:error` if it would not print that.

  Unlike `encode/2`, it takes `type` to be one of `LsmIndex.Postgres.types/0`, and never takes
  `text` for the bytes of a uuid.

      iex> LsmIndex.Key.encode_text(:int8, "42")
      {:ok, <<1, 42::64>>}

      iex> LsmIndex.Key.encode_text(:int8, "forty-two")
      :error
  """
  @spec encode_text(type :: atom, text :: binary) :: {:ok, t} | :error
  def encode_text(type, text) when type in @postgres_types and byte_size(text) <= @max_text do
    case Native.text_key(type, text) do
      :error -> :error
      key -> {:ok, key}
    end
  end

  # Long text, whose key may be a digest.
  def encode_text(type, text) do
    case Postgres.parse(type, text) do
      {:ok, value} -> encode(type, value)
      :error -> :error
    end
  end

  @doc false
  @spec max_text() :: pos_integer
  def max_text, do: @max_text

  @doc """
  The key of a term that only the same term has: `1` and `1.0` have two, as they are two keys of an
  ETS table. Its bytes are those that docs/format.md gives for terms, or, if they are more than a key
  has, `FF` and their SHA-256. `:error` for terms that hold pids, ports, references or functions.

      iex> LsmIndex.Key.exact(1) == LsmIndex.Key.exact(1.0)
      false
  """
  @spec exact(term) :: {:ok, t} | :error
  def exact(value) do
    case with(:large <- Native.term_key(value), do: Native.term_key_dirty(value)) do
      :error -> :error
      key when byte_size(key) <= @max_size -> {:ok, key}
      long -> {:ok, <<@digest, :crypto.hash(:sha256, long)::binary>>}
    end
  end

  # What the known types accept, the usual first.
  defp key(type, n) when type in @exact_types and is_int64(n), do: <<@integer, n::64>>
  defp key(type, text) when type in @text_types and is_binary(text), do: <<@text, text::binary>>
  defp key(:uuid, <<uuid::binary-size(16)>>), do: <<@uuid, uuid::binary>>

  defp key(type, text) when type in @postgres_types and is_binary(text) do
    case Postgres.parse(type, text) do
      {:ok, value} -> key(type, value)
      :error -> :error
    end
  end

  defp key(type, value) when type in @exact_types, do: number(value)
  defp key(type, value) when type in @float_types, do: double(value)
  defp key(:bool, value) when is_boolean(value), do: any(:bool, value)
  defp key(:date, %Date{} = date), do: any(:date, date)
  defp key(:time, %Time{} = time), do: any(:time, time)
  defp key(:timestamp, %NaiveDateTime{} = timestamp), do: any(:timestamp, timestamp)
  defp key(:timestamptz, %DateTime{} = instant), do: any(:timestamptz, instant)

  defp key(type, value) when type in @infinite_types and value in [:infinity, :neg_infinity],
    do: special(value)

  defp key(type, _value) when type in @postgres_types, do: :error
  defp key(type, value), do: any(type, value)

  # The key that a term has by its own kind. `type` is handed on to what it contains.
  defp any(_type, nil), do: :error
  defp any(_type, false), do: <<@boolean, 0>>
  defp any(_type, true), do: <<@boolean, 1>>
  defp any(_type, atom) when is_atom(atom), do: <<@atom, Atom.to_string(atom)::binary>>
  defp any(_type, number) when is_number(number), do: number(number)
  defp any(_type, text) when is_binary(text), do: <<@text, text::binary>>

  defp any(_type, %Date{calendar: Calendar.ISO} = date), do: <<@date, days(date)::64>>

  defp any(_type, %Time{calendar: Calendar.ISO} = time), do: <<@time, microseconds(time)::64>>

  defp any(_type, %NaiveDateTime{calendar: Calendar.ISO} = timestamp) do
    <<@timestamp, days(timestamp) * 86_400_000_000 + microseconds(timestamp)::64>>
  end

  defp any(_type, %DateTime{calendar: Calendar.ISO} = instant) do
    offset = (instant.utc_offset + instant.std_offset) * 1_000_000
    <<@timestamptz, days(instant) * 86_400_000_000 + microseconds(instant) - offset::64>>
  end

  defp any(type, %module{calendar: _other} = value) when module in @calendars do
    case module.convert(value, Calendar.ISO) do
      {:ok, value} -> any(type, value)
      {:error, _reason} -> :error
    end
  end

  defp any(_type, %{__struct__: Decimal} = decimal), do: number(decimal)

  # The guard keeps improper lists out: for them, length/1 fails.
  defp any(type, list) when is_list(list) and length(list) >= 0,
    do: pack(@list, elements(type, list))

  defp any(type, tuple) when is_tuple(tuple),
    do: pack(@tuple, elements(type, Tuple.to_list(tuple)))

  defp any(type, map) when is_map(map),
    do: pack(@map, type |> elements(Map.to_list(map)) |> Enum.sort())

  defp any(_type, bits) when is_bitstring(bits) do
    used = rem(bit_size(bits), 8)
    <<@bits, used, bits::bitstring, 0::size(8 - used)>>
  end

  defp any(_type, _term), do: :error

  defp elements(type, values), do: for(value <- values, do: element(type, value))

  defp element(_type, nil), do: <<@null>>
  defp element({:array, _} = type, list) when is_list(list), do: any(type, list)
  defp element({:array, type}, value), do: key(type, value)
  defp element(type, value), do: key(type, value)

  defp pack(tag, keys) do
    if :error in keys,
      do: :error,
      else: IO.iodata_to_binary([tag | for(key <- keys, do: [<<byte_size(key)::32>>, key])])
  end

  # Under the float types a number is what a double can hold of it. Text is the way to the nearest
  # double: it is rounded once, and right.
  defp double(float) when is_float(float), do: number(float)
  defp double(n) when is_integer(n) and is_exact_float(n), do: <<@integer, n::64>>
  defp double(n) when is_integer(n), do: key(:float8, Integer.to_string(n))

  defp double(%{__struct__: Decimal, sign: sign, coef: coef, exp: exp}) when is_integer(coef),
    do: key(:float8, "#{sign * coef}e#{exp}")

  defp double(other), do: number(other)

  defp number(n) when is_int64(n), do: <<@integer, n::64>>
  defp number(n) when is_integer(n), do: decimal(sign(n), Integer.to_string(abs(n)), 0)

  defp number(float) when is_float(float) do
    whole = if is_exact_float(float), do: trunc(float)

    if whole == float do
      <<@integer, whole::64>>
    else
      # Any decimal that reads back as it does: which is the shortest is not left to the VM.
      Native.text_key(:float8, :erlang.float_to_binary(float, [:short]))
    end
  end

  defp number({:decimal, sign, digits, exponent}), do: decimal(sign, digits, exponent)

  defp number(%{__struct__: Decimal, sign: sign, coef: coef, exp: exp}) do
    case coef do
      :NaN -> special(:nan)
      :inf -> special(if sign < 0, do: :neg_infinity, else: :infinity)
      coef when is_integer(coef) -> decimal(sign, Integer.to_string(coef), exp)
      _ -> :error
    end
  end

  defp number(value), do: special(value)

  defp special(:nan), do: <<@special, 0>>
  defp special(:infinity), do: <<@special, 1>>
  defp special(:neg_infinity), do: <<@special, 2>>
  defp special(_value), do: :error

  defp sign(n) when n < 0, do: -1
  defp sign(_n), do: 1

  # Digits without zeros at either end: then two equal numbers have the same digits and exponent.
  defp decimal(sign, <<?0, digits::binary>>, exponent), do: decimal(sign, digits, exponent)
  defp decimal(_sign, "", _exponent), do: <<@integer, 0::64>>

  defp decimal(sign, digits, exponent) do
    size = without_trailing_zeros(digits, byte_size(digits))
    exponent = exponent + byte_size(digits) - size
    digits = binary_part(digits, 0, size)

    with true <- exponent >= 0 and size + exponent <= 19,
         n when is_int64(n) <- sign * String.to_integer(digits) * Integer.pow(10, exponent) do
      <<@integer, n::64>>
    else
      _ when is_int64(exponent) ->
        <<@decimal, if(sign < 0, do: ?-, else: ?+), exponent::64, digits::binary>>

      _ ->
        :error
    end
  end

  defp without_trailing_zeros(digits, size) do
    if :binary.at(digits, size - 1) == ?0,
      do: without_trailing_zeros(digits, size - 1),
      else: size
  end

  # Days since 2000-01-01, PostgreSQL's own first day, in the calendar without a beginning that
  # both keep. Years begin in March here, so that the leap day is their last.
  defp days(%{year: year, month: month, day: day}) do
    {year, month} = if month > 2, do: {year, month - 3}, else: {year - 1, month + 9}
    leap_days = Integer.floor_div(year, 4) - Integer.floor_div(year, 100)
    leap_days = leap_days + Integer.floor_div(year, 400)
    year * 365 + leap_days + div(153 * month + 2, 5) + day - 730_426
  end

  defp microseconds(%{hour: hour, minute: minute, second: second, microsecond: {micro, _}}),
    do: ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro
end
