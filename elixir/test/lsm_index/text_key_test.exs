defmodule LsmIndex.TextKeyTest do
  # The engine reads text into keys by itself. `LsmIndex.Postgres` and `LsmIndex.Key` do the same in
  # two steps, and are the model: whatever the text, both give the same key, or none.
  use ExUnit.Case, async: true

  alias LsmIndex.{Key, Native, Postgres}

  @cases 3_000

  # Texts of which random ones are made.
  @seeds %{
    int2: ~w(0 -1 32767 -32768 32768 007),
    int4: ~w(0 42 -2147483648 2147483647 2147483648),
    int8:
      ~w(0 9223372036854775807 -9223372036854775808 9223372036854775808 -00000000000000000001),
    float4: ~w(0.1 1e-05 -1.5 NaN Infinity 3.4028235e+38 1),
    float8:
      ~w(0.1 -0 1e-323 1.7976931348623157e+308 1e309 -Infinity 123456789012345678 1e22 4.35),
    numeric:
      ~w(1.50 -0.025 1e400 0.000 NaN -Infinity 12345678901234567890.123 1000000000000000000 .5),
    bool: ~w(t f true false),
    text: ["", "abc", "a b ", <<0, 255>>],
    varchar: ["x"],
    bpchar: ["x  "],
    name: ["x"],
    uuid: ~w(550e8400-e29b-41d4-a716-446655440000 {550e8400e29b41d4a716446655440000}
             550e-8400-e29b-41d4-a716-4466-5544-0000),
    date: ["2024-02-29", "1900-02-28", "0001-01-01 BC", "5874897-12-31", "infinity", "-infinity"],
    time: ["00:00:00", "23:59:59.999999", "24:00:00", "12:34:56.7"],
    timestamp: ["2024-02-29 12:34:56.789", "294276-12-31 23:59:59", "4714-11-24 00:00:00 BC"],
    timestamptz: [
      "2024-02-29 12:34:56+05:30",
      "1999-12-31 23:59:59.5-15:59:59",
      "2000-01-01T00:00:00Z"
    ]
  }

  test "every type has its seeds" do
    assert @seeds |> Map.keys() |> Enum.sort() == Enum.sort(Postgres.types())
  end

  test "text gives the key of its value" do
    for {type, seeds} <- @seeds, text <- seeds, do: assert_same(type, text)

    for {type, seeds} <- @seeds, _ <- 1..@cases do
      assert_same(type, seeds |> Enum.random() |> changed(Enum.random(0..3)))
    end
  end

  test "numbers of every size" do
    for _ <- 1..@cases do
      digits = Enum.map_join(1..Enum.random(1..25), fn _ -> Enum.random(0..9) end)
      point = Enum.random(0..String.length(digits))
      {whole, fraction} = String.split_at(digits, point)
      exponent = Enum.random(["", "", "e#{Enum.random(-330..330)}"])
      text = Enum.random(["", "-"]) <> whole <> Enum.random([".", ""]) <> fraction <> exponent
      for type <- [:int8, :float8, :numeric], do: assert_same(type, text)
    end
  end

  test "long text is read as well" do
    for size <- 65_530..65_540 do
      text = String.duplicate("x", size)
      {:ok, value} = Postgres.parse(:text, text)
      assert Key.encode_text(:text, text) == Key.encode(:text, value)
    end
  end

  test "a type that is none is refused" do
    assert_raise ArgumentError, fn -> Native.text_key(:interval, "1 day") end
    assert_raise ArgumentError, fn -> Native.text_key(:int8, 1) end
  end

  defp assert_same(type, text) do
    expected =
      with {:ok, value} <- Postgres.parse(type, text),
           {:ok, key} <- Key.encode(type, value),
           do: key

    assert {type, text, Native.text_key(type, text)} == {type, text, expected}
  end

  # Bytes replaced, left out, or put in.
  defp changed(text, 0), do: text

  defp changed(text, times) do
    {before, rest} = String.split_at(text, Enum.random(0..String.length(text)))
    char = Enum.random(~w(0 1 5 9 - + . e E : T Z B C) ++ [" ", "x", "é", "{"])

    case Enum.random(1..3) do
      1 -> before <> char <> rest
      2 -> before <> String.slice(rest, 1..-1//1)
      3 -> before <> char <> String.slice(rest, 1..-1//1)
    end
    |> changed(times - 1)
  end
end
