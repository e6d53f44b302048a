defmodule LsmIndex.KeyTest do
  use ExUnit.Case, async: true

  alias LsmIndex.{Key, Postgres}

  doctest Key

  # Stored indexes hold these bytes: a failure here is a change of format, not of a test.
  @golden [
    {:int8, 0, "010000000000000000"},
    {:int8, 42, "01000000000000002A"},
    {:int8, -1, "01FFFFFFFFFFFFFFFF"},
    {:int8, 9_223_372_036_854_775_807, "017FFFFFFFFFFFFFFF"},
    {:int8, -9_223_372_036_854_775_808, "018000000000000000"},
    {:int8, 9_223_372_036_854_775_808,
     "022B0000000000000000" <> "39323233333732303336383534373735383038"},
    {:numeric, "1.50", "022BFFFFFFFFFFFFFFFF" <> "3135"},
    {:numeric, "-0.025", "022DFFFFFFFFFFFFFFFD" <> "3235"},
    {:numeric, "1e400", "022B0000000000000190" <> "31"},
    {:numeric, "1e18", "010DE0B6B3A7640000"},
    {:float8, 0.1, "022BFFFFFFFFFFFFFFFF" <> "31"},
    {:float8, -0.0, "010000000000000000"},
    {:float8, 1.0e300, "022B000000000000012C" <> "31"},
    {:float8, :nan, "0300"},
    {:numeric, :infinity, "0301"},
    {:date, :neg_infinity, "0302"},
    {:bool, false, "0400"},
    {:bool, true, "0401"},
    {:mood, :happy, "05" <> "6861707079"},
    {:mood, :é, "05" <> "C3A9"},
    {:text, "", "06"},
    {:text, "abc", "06" <> "616263"},
    {:uuid, "550e8400-e29b-41d4-a716-446655440000", "07" <> "550E8400E29B41D4A716446655440000"},
    {:date, ~D[2000-01-01], "080000000000000000"},
    {:date, ~D[1999-12-31], "08FFFFFFFFFFFFFFFF"},
    {:date, ~D[2024-02-29], "080000000000002279"},
    {:date, "0001-01-01 BC", "08FFFFFFFFFFF4DA8B"},
    {:date, "5874897-12-31", "08000000007FDA970C"},
    {:time, ~T[00:00:00], "090000000000000000"},
    {:time, ~T[23:59:59.999999], "09000000141DD75FFF"},
    {:time, "24:00:00", "09000000141DD76000"},
    {:timestamp, ~N[2000-01-01 00:00:01], "0A00000000000F4240"},
    {:timestamp, "294276-12-31 23:59:59.999999", "0A7FFFFF5BB3B29FFF"},
    {:timestamptz, ~U[1999-12-31 23:59:59.5Z], "0BFFFFFFFFFFF85EE0"},
    {{:array, :int4}, [], "0C"},
    {{:array, :int4}, [1, nil], "0C" <> "00000009" <> "010000000000000001" <> "00000001" <> "00"},
    {:pair, {true, "a"}, "0D" <> "00000002" <> "0401" <> "00000002" <> "0661"},
    {:pair, {}, "0D"},
    {:json, %{"b" => true, "a" => nil},
     "0E" <>
       ("0000000C" <> "0D" <> "00000002" <> "0661" <> "00000001" <> "00") <>
       "0000000D" <> "0D" <> "00000002" <> "0662" <> "00000002" <> "0401"},
    {:bit, <<5::3>>, "0F03A0"},
    {:bit, <<255, 1::1>>, "0F01FF80"}
  ]

  defp key!(type, value) do
    case Key.encode(type, value) do
      {:ok, key} -> key
      :error -> flunk("no key for #{inspect(value)} under #{inspect(type)}")
    end
  end

  defp decimal(sign, coef, exp), do: %{__struct__: Decimal, sign: sign, coef: coef, exp: exp}

  test "golden bytes" do
    for {type, value, hex} <- @golden do
      assert {type, value, Base.encode16(key!(type, value))} == {type, value, hex}
    end
  end

  test "what is equal in SQL has one key" do
    for {type, values} <-
          [
            int2: [1, 1.0, "1", "01", decimal(1, 10, -1)],
            int4: [-7, -7.0, "-7"],
            int8: [9_223_372_036_854_775_807, "9223372036854775807"],
            int8: [0, -0.0, 0.0, "0", "-0", decimal(-1, 0, 5)],
            float4: [0.1, "0.1", "1e-1", decimal(1, 1, -1)],
            float8: [1, 1.0, "1", "1.0", "1e0", "10e-1"],
            float8: [9_007_199_254_740_992, 9_007_199_254_740_993, "9007199254740993", 2.0 ** 53],
            float8: [1.0e22, 10 ** 22, "1e+22", "10000000000000000000000"],
            float8: [2 ** 60, 2.0 ** 60, "1.152921504606847e+18", decimal(1, 2 ** 60, 0)],
            float8: [:nan, "NaN", decimal(1, :NaN, 0)],
            float8: [:infinity, "Infinity", decimal(1, :inf, 0)],
            float8: [:neg_infinity, "-Infinity", decimal(-1, :inf, 0)],
            numeric: [1.5, "1.5", "1.50", "01.500", "15e-1", decimal(1, 150, -2)],
            numeric: [0.1, "0.1", ".1", "0.100"],
            numeric: [
              10 ** 30,
              "1e30",
              1.0e30,
              decimal(1, 1, 30),
              "1" <> String.duplicate("0", 30)
            ],
            numeric: [-(2 ** 63), "-9223372036854775808.000"],
            numeric: [5.0e-324, "5e-324"],
            numeric: [:nan, "NaN"],
            bool: [true, "t", "true"],
            bool: [false, "f", "false"],
            bpchar: ["a "],
            uuid: [
              <<0x550E8400E29B41D4A716446655440000::128>>,
              "550E8400-E29B-41D4-A716-446655440000",
              "{550e8400e29b41d4a716446655440000}"
            ],
            date: [~D[2024-01-01], "2024-01-01"],
            date: [:infinity, "infinity"],
            time: [~T[12:00:00.5], ~T[12:00:00.500000], "12:00:00.50"],
            timestamp: [
              ~N[2024-01-01 00:00:00],
              ~N[2024-01-01 00:00:00.000],
              "2024-01-01 00:00:00"
            ],
            timestamp: [:neg_infinity, "-infinity"],
            timestamptz: [
              ~U[2024-01-01 00:00:00Z],
              "2024-01-01 00:00:00+00",
              "2024-01-01 05:30:00+05:30"
            ],
            interval: [%{seconds: 1, micro: {0, 6}}, %{seconds: 1.0, micro: {-0.0, 6}}]
          ] ++
            [
              {{:array, :float8}, [[1, 0.5], [1.0, 0.5], ["1", ".5"]]},
              {{:array, :uuid}, [[[<<1::128>>]], [["00000000-0000-0000-0000-000000000001"]]]},
              {{:array, :time}, [[nil, ~T[00:00:01]], [nil, ~T[00:00:01.000]]]},
              {:any, [[1, [2.0, nil]], [1.0, [2, nil]]]}
            ] do
      keys = for value <- values, do: key!(type, value)
      assert {type, values, Enum.uniq(keys)} == {type, values, [hd(keys)]}
    end
  end

  test "what differs has different keys" do
    for {type, values} <- [
          int8: [0, 1, -1, 256, 2 ** 63 - 1, -(2 ** 63), 2 ** 63, -(2 ** 63) - 1, 2 ** 64, 1.5],
          int8: [:nan, :infinity, :neg_infinity, 3],
          float8: [0.1, 0.10000000000000002, 0.01, 1.0e-300, 1.0e300, -0.1, 1, 10],
          float8: [2.0 ** 53, 2.0 ** 53 + 2, 5.0e-324, 1.0e-323],
          numeric: ["0.1", "0.01", "0.10000000000000000000000000001", "-0.1", "1e400", "1e401"],
          numeric: [10 ** 18, 10 ** 19, 10 ** 20, "10000000000000000001", "1e-19"],
          numeric: ["NaN", "Infinity", "-Infinity", 0],
          bool: [true, false],
          text: ["", "a", "a ", "A", "1", "01", "true", <<0>>, <<0, 0>>, <<255>>],
          bpchar: ["a", "a ", "a  "],
          uuid: [<<0::128>>, <<1::128>>, <<1, 0::120>>],
          date: [~D[2024-01-01], ~D[2024-01-02], :infinity, :neg_infinity],
          time: [~T[00:00:00], "24:00:00", ~T[00:00:00.000001]],
          timestamp: [~N[2024-01-01 00:00:00], ~N[2024-01-01 00:00:00.000001], :infinity],
          timestamptz: [~U[2024-01-01 00:00:00Z], "2024-01-01 00:00:00+01"],
          any: [1, "1", :"1", true, "true", [1], {1}, [], {}, %{}, "", [nil], [[]], [[nil]]],
          any: [~D[2000-01-01], ~T[00:00:00], ~N[2000-01-01 00:00:00], ~U[2000-01-01 00:00:00Z]],
          any: [["ab", "c"], ["a", "bc"], ["abc"], [["ab"], "c"], [["ab", "c"]]],
          any: [%{a: 1}, %{a: 2}, %{b: 1}, %{a: 1, b: 1}, [a: 1], %{a: nil}],
          any: [<<0::1>>, <<0::2>>, <<0::8>>, <<0::9>>, <<1::1>>]
        ] do
      keys = for value <- values, do: key!(type, value)
      assert {values, length(Enum.uniq(keys))} == {values, length(values)}
    end
  end

  test "nil has no key" do
    for type <- Postgres.types() ++ [:mood, {:array, :int4}] do
      assert {type, Key.encode(type, nil)} == {type, :error}
    end
  end

  test "a value that is no constant of the type has no key" do
    for {type, values} <-
          [
            int8: [true, :on, "a", "1.5", [1], ~D[2024-01-01]],
            int2: ["32768"],
            float8: ["1e400", 10 ** 400, decimal(1, 1, 400), "", :inf, false],
            numeric: ["abc", {1, 2}, decimal(1, :huh, 0), decimal(1, 1, 2 ** 64)],
            bool: [1, 0, "yes", :t],
            text: [1, :a, nil, true, ["a"], <<1::3>>],
            uuid: [1, "", <<0::120>>, <<0::136>>, "not-a-uuid", :infinity],
            date: [~N[2024-01-01 00:00:00], 1, "2024-02-30", :nan],
            time: [:infinity, ~N[2024-01-01 00:00:00], "now"],
            timestamp: [~D[2024-01-01], ~U[2024-01-01 00:00:00Z], 0],
            timestamptz: [~N[2024-01-01 00:00:00], "2024-01-01 00:00:00"],
            any: [
              self(),
              make_ref(),
              fn -> :ok end,
              [1 | 2],
              [self()],
              {make_ref()},
              %{a: self()}
            ]
          ] ++ [{{:array, :int4}, [["a"], [1, [true]]]}],
        value <- values do
      assert {type, value, Key.encode(type, value)} == {type, value, :error}
    end
  end

  test "text of a record is never the bytes of a uuid" do
    assert {:ok, _} = Key.encode(:uuid, "aaaaaaaaaaaaaaaa")
    assert Key.encode_text(:uuid, "aaaaaaaaaaaaaaaa") == :error
  end

  test "text of every length gives the key of its constant" do
    # The digits of a number are not all of its key.
    for size <- [65_520, 65_524, 65_525, 65_526, 65_533, 65_534, 65_535, 65_536, 100_000],
        {type, text} <- [
          {:text, String.duplicate("x", size)},
          {:numeric, String.duplicate("7", size)},
          {:numeric, "-" <> String.duplicate("7", size - 1)},
          {:numeric, "." <> String.duplicate("7", size - 1)},
          {:numeric, "1" <> String.duplicate("0", size - 1)},
          {:int8, String.duplicate("0", size)}
        ] do
      expected = Key.encode(type, text)
      assert {size, type, Key.encode_text(type, text)} == {size, type, expected}
      with {:ok, key} <- expected, do: assert(byte_size(key) <= 65_535)
    end
  end

  test "a key that would be too long is replaced by its digest" do
    longest = String.duplicate("a", 65_534)
    assert key!(:text, longest) == <<6, longest::binary>>

    for longer <- ["a", "b"] do
      text = longest <> longer
      assert key!(:text, text) == <<0xFF, :crypto.hash(:sha256, <<6, text::binary>>)::binary>>
    end

    digits = String.duplicate("1", 100_000)
    assert <<0xFF, _::256>> = key = key!(:numeric, digits)
    assert key == key!(:numeric, digits <> ".000")
    assert <<0xFF, _::256>> = key!(:any, List.duplicate(1, 10_000))
  end

  test "dates of other calendars are converted" do
    defmodule Shifted do
      # The days of ISO, numbered from another year.
      def valid_date?(_, _, _), do: true
      def day_rollover_relative_to_midnight_utc, do: {0, 1}

      def naive_datetime_to_iso_days(year, month, day, hour, minute, second, microsecond) do
        Calendar.ISO.naive_datetime_to_iso_days(
          year + 543,
          month,
          day,
          hour,
          minute,
          second,
          microsecond
        )
      end
    end

    date = %Date{calendar: Shifted, year: 1481, month: 2, day: 29}
    assert key!(:date, date) == key!(:date, ~D[2024-02-29])

    timestamp = %NaiveDateTime{
      calendar: Shifted,
      year: 1481,
      month: 2,
      day: 29,
      hour: 1,
      minute: 2,
      second: 3,
      microsecond: {0, 0}
    }

    assert key!(:timestamp, timestamp) == key!(:timestamp, ~N[2024-02-29 01:02:03])
  end

  # Random pairs: the keys must be equal exactly when a plain model of SQL's equality says so.
  # They follow from the seed that ExUnit prints.
  describe "random values" do
    @cases 2_000

    test "numbers, however written" do
      for _ <- 1..@cases do
        {a, b} = {random_number(), random_number()}
        {x, y} = {spelled(a), spelled(b)}
        same? = rational(a) == rational(b)
        assert {x, y, key!(:numeric, x) == key!(:numeric, y)} == {x, y, same?}
        assert {a, key!(:numeric, spelled(a))} == {a, key!(:numeric, x)}
      end
    end

    test "doubles and their text" do
      for _ <- 1..@cases do
        {x, y} = {random_double(), random_double()}
        text = Float.to_string(x)
        assert {x, key!(:float8, text)} == {x, key!(:float8, x)}
        assert {x, y, key!(:float8, x) == key!(:float8, y)} == {x, y, x == y}
        assert {x, key!(:float8, next(x)) == key!(:float8, x)} == {x, false}
      end
    end

    test "instants at any offset" do
      for _ <- 1..@cases do
        {a, b} = {random_instant(), random_instant()}
        same? = DateTime.compare(a, b) == :eq
        {x, y} = {at_offset(a), at_offset(b)}

        assert {x, y, key!(:timestamptz, x) == key!(:timestamptz, y)} ==
                 {x, y, same?}

        assert {x, key!(:timestamptz, x)} == {x, key!(:timestamptz, a)}
      end
    end

    test "dates are numbered like those of the standard library" do
      for _ <- 1..@cases do
        date = Date.add(~D[2000-01-01], Enum.random(-4_000_000..2_900_000))
        days = Date.diff(date, ~D[2000-01-01])
        assert {date, key!(:date, date)} == {date, <<8, days::64>>}
      end
    end

    test "nested terms" do
      for _ <- 1..@cases do
        {a, b} = {random_term(3), random_term(3)}
        same? = plain(a) == plain(b)
        assert {a, b, key!(:any, a) == key!(:any, b)} == {a, b, same?}
      end
    end
  end

  # A small range, so that equal numbers come up.
  defp random_number, do: {Enum.random(-30..30) * Enum.random([1, 10, 100]), Enum.random(-3..25)}

  defp rational({coef, exp}), do: coef * 10 ** (exp + 3)

  defp spelled({coef, exp}) do
    case Enum.random(1..5) do
      1 -> "#{coef}e#{exp}"
      2 -> "#{coef}.#{String.duplicate("0", Enum.random(1..5))}e#{exp}"
      3 -> decimal(if(coef < 0, do: -1, else: 1), abs(coef), exp)
      4 -> if exp >= 0, do: coef * 10 ** exp, else: "#{coef}e#{exp}"
      5 -> String.to_float("#{coef}.0e#{exp}")
    end
  end

  # Any finite double.
  defp random_double do
    case <<Enum.random(0..0xFFFF_FFFF_FFFF_FFFF)::64>> do
      <<double::float>> -> double
      _ -> random_double()
    end
  end

  defp next(double) do
    <<bits::64>> = <<double::float>>

    case <<bits + 1::64>> do
      <<next::float>> -> next
      _ -> 0.5
    end
  end

  defp random_instant do
    DateTime.add(~U[2024-01-01 00:00:00.000000Z], Enum.random(-3..3) * 250_000, :microsecond)
  end

  defp at_offset(instant) do
    minutes = Enum.random(-900..900)
    local = instant |> DateTime.add(minutes * 60) |> DateTime.to_naive()
    sign = if minutes < 0, do: "-", else: "+"
    [hours, minutes] = for n <- [div(abs(minutes), 60), rem(abs(minutes), 60)], do: pad(n)
    "#{local}#{sign}#{hours}:#{minutes}"
  end

  defp pad(n), do: String.pad_leading("#{n}", 2, "0")

  defp random_term(0),
    do: Enum.random([nil, 0, 0.0, 1, 1.0, 0.5, "", "a", :a, true, ~T[00:00:00]])

  defp random_term(depth) do
    case Enum.random(1..4) do
      1 -> random_terms(depth)
      2 -> List.to_tuple(random_terms(depth))
      3 -> %{random_term(0) => random_term(depth - 1)}
      4 -> [random_term(0)]
    end
  end

  defp random_terms(depth), do: for(_ <- 1..Enum.random(0..2)//1, do: random_term(depth - 1))

  # Floats without a fraction as integers: then `==` is the equality that keys stand for.
  defp plain(float) when is_float(float) and trunc(float) == float, do: trunc(float)
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(tuple) when is_tuple(tuple), do: {plain(Tuple.to_list(tuple))}
  defp plain(%_{} = struct), do: struct
  defp plain(map) when is_map(map), do: Map.new(map, fn {k, v} -> {plain(k), plain(v)} end)
  defp plain(other), do: other
end
