defmodule LsmIndex.PostgresTest do
  use ExUnit.Case, async: true

  alias LsmIndex.Postgres

  doctest Postgres

  # type, text, value
  @good [
    {:int2, "0", 0},
    {:int2, "-0", 0},
    {:int2, "007", 7},
    {:int2, "32767", 32_767},
    {:int2, "-32768", -32_768},
    {:int4, "2147483647", 2_147_483_647},
    {:int4, "-2147483648", -2_147_483_648},
    {:int8, "9223372036854775807", 9_223_372_036_854_775_807},
    {:int8, "-9223372036854775808", -9_223_372_036_854_775_808},
    {:float4, "3.4028235e+38", 3.4028235e38},
    {:float8, "42", 42.0},
    {:float8, "0.1", 0.1},
    {:float8, "-1.5", -1.5},
    {:float8, "1e-05", 1.0e-5},
    {:float8, "1e+22", 1.0e22},
    {:float8, "1.7976931348623157e+308", 1.7976931348623157e308},
    {:float8, "5e-324", 5.0e-324},
    {:float8, "0e-400", 0.0},
    {:float8, "9007199254740993", 9_007_199_254_740_992.0},
    {:float8, "NaN", :nan},
    {:float8, "Infinity", :infinity},
    {:float4, "-Infinity", :neg_infinity},
    {:numeric, "42", 42},
    {:numeric, "-42", -42},
    {:numeric, "1.50", {:decimal, 1, "150", -2}},
    {:numeric, "-0.001", {:decimal, -1, "0001", -3}},
    {:numeric, "1234567890123456789", {:decimal, 1, "1234567890123456789", 0}},
    {:numeric, "1e400", {:decimal, 1, "1", 400}},
    {:numeric, "1.5E-7", {:decimal, 1, "15", -8}},
    {:numeric, ".5", {:decimal, 1, "5", -1}},
    {:numeric, "5.", {:decimal, 1, "5", 0}},
    {:numeric, "NaN", :nan},
    {:numeric, "Infinity", :infinity},
    {:numeric, "-Infinity", :neg_infinity},
    {:bool, "t", true},
    {:bool, "f", false},
    {:bool, "true", true},
    {:bool, "false", false},
    {:text, "", ""},
    {:text, <<0, 255>>, <<0, 255>>},
    {:varchar, "a b", "a b"},
    {:bpchar, "a  ", "a  "},
    {:name, "pg_class", "pg_class"},
    {:date, "2024-02-29", ~D[2024-02-29]},
    {:date, "0001-01-01", ~D[0001-01-01]},
    {:date, "0001-01-01 BC", ~D[0000-01-01]},
    {:date, "0044-03-15 BC", ~D[-0043-03-15]},
    {:date, "4714-11-24 BC", ~D[-4713-11-24]},
    {:date, "5874897-12-31", %Date{year: 5_874_897, month: 12, day: 31}},
    {:date, "infinity", :infinity},
    {:date, "-infinity", :neg_infinity},
    {:time, "00:00:00", ~T[00:00:00]},
    {:time, "23:59:59.999999", ~T[23:59:59.999999]},
    {:time, "12:34:56.5", ~T[12:34:56.5]},
    {:time, "12:34:56.050", ~T[12:34:56.050]},
    {:time, "24:00:00", %Time{hour: 24, minute: 0, second: 0}},
    {:timestamp, "2024-02-29 12:34:56", ~N[2024-02-29 12:34:56]},
    {:timestamp, "2024-02-29T12:34:56.789", ~N[2024-02-29 12:34:56.789]},
    {:timestamp, "0044-03-15 12:00:00 BC", ~N[-0043-03-15 12:00:00]},
    {:timestamp, "infinity", :infinity},
    {:timestamp, "-infinity", :neg_infinity},
    {:timestamptz, "2024-02-29 12:34:56+00", ~U[2024-02-29 12:34:56Z]},
    {:timestamptz, "2024-02-29T12:34:56.1Z", ~U[2024-02-29 12:34:56.1Z]},
    {:timestamptz, "0044-03-15 12:00:00+00 BC", ~U[-0043-03-15 12:00:00Z]},
    {:timestamptz, "infinity", :infinity},
    {:timestamptz, "-infinity", :neg_infinity}
  ]

  @bad [
    int2: ["32768", "-32769", "", "-", "+", "1.0", " 1", "1 ", "1\n", "0x1", "1_0", "١", "t"],
    int4: ["2147483648", "-2147483649", "1e3"],
    int8: ["9223372036854775808", "-9223372036854775809", "000000000000000000001", "--1"],
    float4: ["", "abc", "1,5", "e5", "1e", "1e+", "nan", "inf", "+-1"],
    float8: ["1e400", "-1e309", "1e-400", ".", "-", "1.5.2", "1e5 ", "0x1p3", "1e1234567"],
    numeric: ["", ".", "-", "1.5x", "1e", "1e1000000000", "1 000", "Nan", "--1"],
    bool: ["", "T", "yes", "1", "truee", "f "],
    uuid: [
      "",
      "550e8400-e29b-41d4-a716-44665544000",
      "550e8400-e29b-41d4-a716-4466554400000",
      "550e8400-e29b-41d4-a716-44665544000g",
      "{550e8400-e29b-41d4-a716-446655440000",
      "550e8400-e29b-41d4-a716-446655440000}",
      "550e8400-e29b-41d4-a716-446655440000-",
      "{550e8400-e29b-41d4-a716-446655440000-}",
      "-550e8400-e29b-41d4-a716-446655440000",
      "550e8400--e29b-41d4-a716-446655440000",
      "550-e8400-e29b-41d4-a716-446655440000",
      "+50e8400-e29b-41d4-a716-446655440000",
      "{",
      "{}",
      "aaaaaaaaaaaaaaaa"
    ],
    date: [
      "",
      "2024-02-30",
      "2023-02-29",
      "1900-02-29",
      "2024-13-01",
      "2024-00-01",
      "2024-01-00",
      "2024-04-31",
      "0000-01-01",
      "24-01-01",
      "2024-1-1",
      "2024-01-01 ",
      "2024-01-01 AD",
      "4715-01-01 BC",
      "5874898-01-01",
      "12345678-01-01",
      "01/02/2024",
      "-2024-01-01",
      "Infinity"
    ],
    time:
      ["", "24:00:01", "25:00:00", "12:60:00", "12:00:60", "12:00", "1:00:00"] ++
        ["12:00:00.", "12:00:00.1234567", "12:00:00+00", "12:00:00 ", "infinity"],
    timestamp:
      ["2024-02-29", "2024-02-29 12:34", "2024-02-29 24:00:00", "2024-02-30 00:00:00"] ++
        ["2024-02-29 12:34:56+00", "2024-02-29  12:34:56", "294277-01-01 00:00:00", "now"],
    timestamptz:
      ["2024-02-29 12:34:56", "2024-02-29 12:34:56+0", "2024-02-29 12:34:56 UTC"] ++
        ["2024-02-29 12:34:56+16", "2024-02-29 12:34:56+05:60", "2024-02-29 12:34:56+05:30:"] ++
        ["2024-02-29 12:34:56 BC+00", "2024-02-29 12:34:56*05"]
  ]

  test "the text that PostgreSQL prints gives the value" do
    for {type, text, value} <- @good do
      assert {type, text, Postgres.parse(type, text)} == {type, text, {:ok, value}}
    end
  end

  test "every type is tried with good text" do
    tried = for({type, _text, _value} <- @good, do: type) ++ [:uuid]
    assert Enum.sort(Postgres.types()) == tried |> Enum.uniq() |> Enum.sort()
  end

  test "other text is an error" do
    for {type, texts} <- @bad, text <- texts do
      assert {type, text, Postgres.parse(type, text)} == {type, text, :error}
    end
  end

  test "every form of a uuid that PostgreSQL accepts" do
    uuid = <<0x550E8400E29B41D4A716446655440000::128>>

    for text <- [
          "550e8400-e29b-41d4-a716-446655440000",
          "550E8400-E29B-41D4-A716-446655440000",
          "550e8400e29b41d4a716446655440000",
          "{550e8400-e29b-41d4-a716-446655440000}",
          "{550e8400e29b41d4a716446655440000}",
          "550e-8400-e29b-41d4-a716-4466-5544-0000",
          "550e8400-e29b41d4-a716446655440000"
        ] do
      assert {text, Postgres.parse(:uuid, text)} == {text, {:ok, uuid}}
    end
  end

  test "offsets of a timestamptz" do
    for {text, instant} <- [
          {"2024-02-29 12:34:56+02", ~U[2024-02-29 10:34:56Z]},
          {"2024-02-29 12:34:56.25-08", ~U[2024-02-29 20:34:56.25Z]},
          {"2024-02-29 02:00:00+05:30", ~U[2024-02-28 20:30:00Z]},
          {"2024-02-29 12:00:00-03:30:15", ~U[2024-02-29 15:30:15Z]},
          {"2024-02-29 12:00:00+15:59:59", ~U[2024-02-28 20:00:01Z]}
        ] do
      assert {:ok, parsed} = Postgres.parse(:timestamptz, text)
      assert {text, DateTime.compare(parsed, instant)} == {text, :eq}
    end
  end
end
