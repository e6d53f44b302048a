defmodule LsmIndex.Postgres.Number do
  @moduledoc false

  # Reads integers, floats and numerics. Digits stay text until it is known that they are few: the
  # time to read a numeric of a hundred thousand digits must not grow with their square.

  @spec integer(binary, integer, integer) :: {:ok, integer} | :error
  def integer(text, min, max) when byte_size(text) <= 20 do
    case small_integer(text) do
      n when is_integer(n) and n >= min and n <= max -> {:ok, n}
      _ -> :error
    end
  end

  def integer(_text, _min, _max), do: :error

  @spec float(binary) :: {:ok, float | :nan | :infinity | :neg_infinity} | :error
  def float(text) do
    with :decimal <- special(text), {sign, digits, exponent} <- split(text) do
      to_float(sign, digits, exponent)
    end
  end

  @spec numeric(binary) ::
          {:ok, integer | LsmIndex.Postgres.decimal() | :nan | :infinity | :neg_infinity} | :error
  def numeric(text) when byte_size(text) <= 18 do
    case small_integer(text) do
      :error -> decimal(text)
      n -> {:ok, n}
    end
  end

  def numeric(text), do: decimal(text)

  defp decimal(text) do
    with :decimal <- special(text), {sign, digits, exponent} <- split(text) do
      {:ok, {:decimal, sign, digits, exponent}}
    end
  end

  defp special("NaN"), do: {:ok, :nan}
  defp special("Infinity"), do: {:ok, :infinity}
  defp special("-Infinity"), do: {:ok, :neg_infinity}
  defp special(_text), do: :decimal

  defp small_integer(<<?-, digit, rest::binary>>) when digit in ?0..?9 do
    case small_integer(rest, digit - ?0) do
      :error -> :error
      n -> -n
    end
  end

  defp small_integer(<<digit, rest::binary>>) when digit in ?0..?9,
    do: small_integer(rest, digit - ?0)

  defp small_integer(_text), do: :error

  defp small_integer(<<digit, rest::binary>>, n) when digit in ?0..?9,
    do: small_integer(rest, n * 10 + digit - ?0)

  defp small_integer(<<>>, n), do: n
  defp small_integer(_text, _n), do: :error

  # "-12.50e3" -> {-1, "1250", 1}
  defp split(<<?-, rest::binary>>), do: split(rest, -1)
  defp split(text), do: split(text, 1)

  defp split(text, sign) do
    {whole, rest} = take_digits(text)

    {fraction, rest} =
      case rest do
        <<?., rest::binary>> -> take_digits(rest)
        rest -> {"", rest}
      end

    case {whole <> fraction, exponent(rest)} do
      {"", _} -> :error
      {_, :error} -> :error
      {digits, exponent} -> {sign, digits, exponent - byte_size(fraction)}
    end
  end

  defp exponent(<<>>), do: 0
  defp exponent(<<e, ?+, rest::binary>>) when e in [?e, ?E], do: exponent_digits(rest)
  defp exponent(<<e, ?-, rest::binary>>) when e in [?e, ?E], do: negate(exponent_digits(rest))
  defp exponent(<<e, rest::binary>>) when e in [?e, ?E], do: exponent_digits(rest)
  defp exponent(_text), do: :error

  # PostgreSQL's widest numeric has an exponent of six digits.
  defp exponent_digits(text) when byte_size(text) <= 6 do
    case take_digits(text) do
      {"", _rest} -> :error
      {digits, ""} -> String.to_integer(digits)
      _ -> :error
    end
  end

  defp exponent_digits(_text), do: :error

  defp negate(:error), do: :error
  defp negate(n), do: -n

  defp take_digits(text) do
    size = count_digits(text, 0)
    {binary_part(text, 0, size), binary_part(text, size, byte_size(text) - size)}
  end

  defp count_digits(<<digit, rest::binary>>, n) when digit in ?0..?9,
    do: count_digits(rest, n + 1)

  defp count_digits(_text, n), do: n

  defp to_float(sign, digits, exponent) do
    float =
      :erlang.binary_to_float(<<digits::binary, ".0e", Integer.to_string(exponent)::binary>>)

    # PostgreSQL refuses what is too small for a double; the VM reads it as zero.
    if float == 0.0 and String.trim_leading(digits, "0") != "",
      do: :error,
      else: {:ok, sign * float}
  rescue
    ArgumentError -> :error
  end
end
