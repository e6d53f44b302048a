defmodule LsmIndex.Electric.EvalTest do
  use ExUnit.Case, async: true

  alias LsmIndex.Test.Electric.Eval

  @uuid "c0ffee00-0000-4000-8000-0000000000Ff"

  test "text becomes the terms that the service's parser makes" do
    for {type, text, value} <- [
          {:int2, "-32768", -32768},
          {:int4, "2147483647", 2_147_483_647},
          {:int8, "-9223372036854775808", -(2 ** 63)},
          {:float4, "1.5", 1.5},
          {:float8, "1", 1.0},
          {:float8, "1e-05", 1.0e-5},
          {:float8, "1.5e+300", 1.5e300},
          {:numeric, "1.50", 1.5},
          {:numeric, "42", 42.0},
          {:bool, "t", true},
          {:bool, "false", false},
          {:uuid, @uuid, <<0xC0FFEE0000004000_80000000000000FF::128>>},
          {:text, "", ""},
          {:varchar, " a ", " a "},
          {:bpchar, "a  ", "a  "},
          {:name, <<0xFF>>, <<0xFF>>},
          {:date, "2024-02-29", ~D[2024-02-29]},
          {:time, "01:02:03.50", ~T[01:02:03.50]},
          {:timestamp, "2024-02-29 01:02:03.123456", ~N[2024-02-29 01:02:03.123456]},
          {:timestamptz, "2024-02-29 01:02:03+00", ~U[2024-02-29 01:02:03Z]},
          {:timestamptz, "2024-02-29 06:32:03.5+05:30", ~U[2024-02-29 01:02:03.5Z]}
        ] do
      assert {type, Eval.parse(type, text)} == {type, {:ok, value}}
      # `==` takes 1 for 1.0; what is in ETS does not.
      {:ok, parsed} = Eval.parse(type, text)
      assert parsed === value
      assert Eval.parse(type, nil) == {:ok, nil}
    end
  end

  test "other text is an error" do
    for {type, texts} <- [
          int2: ["32768", "-32769", "1.0", "", " 1", "one"],
          int4: ["2147483648"],
          int8: ["9223372036854775808", "1 "],
          float8: ["", "1,5", "NaN", "1e400"],
          numeric: ["1.5.0", "Infinity"],
          bool: ["", "yes"],
          uuid: ["", "sixteen letters!", String.replace(@uuid, "c", "g"), @uuid <> "0"],
          date: ["2023-02-29", "infinity"],
          time: ["24:00:00", "01:02"],
          timestamp: ["2024-02-29"],
          timestamptz: ["2024-02-29 01:02:03"],
          unheard_of: ["a"],
          text: [1]
        ],
        text <- texts do
      assert {type, text, Eval.parse(type, text)} == {type, text, :error}
    end
  end

  test "equality is SQL's" do
    for {type, value, text} <- [
          {:float8, 1, "1"},
          {:float8, 1.0, "1"},
          {:float8, 0.0, "-0"},
          {:float8, 0, "-0.0"},
          {:numeric, 1, "1.00"},
          {:time, ~T[01:02:03.5], "01:02:03.50"},
          {:timestamp, ~N[2024-02-29 01:02:03], "2024-02-29 01:02:03.000"},
          {:timestamptz, ~U[2024-02-29 01:02:03.500Z], "2024-02-29 02:02:03.5+01"},
          {:bool, false, "f"},
          {:text, "a", "a"}
        ] do
      record = %{"f" => text}
      assert {text, Eval.holds?({:eq, "f", type, value}, record)} == {text, true}
      assert {text, Eval.holds?({:in, "f", type, [nil, value]}, record)} == {text, true}
      assert {text, Eval.holds?({:other, {:gt, "f", type, value}}, record)} == {text, false}
    end

    for {type, value, text} <- [
          {:float8, 1, "1.0000001"},
          {:int8, 1, "2"},
          {:text, "a", "A"},
          {:bpchar, "a", "a "},
          {:bool, true, "f"},
          {:date, ~D[2024-02-28], "2024-02-29"},
          {:time, ~T[01:02:03.5], "01:02:03.51"}
        ] do
      record = %{"f" => text}
      assert {text, Eval.holds?({:eq, "f", type, value}, record)} == {text, false}
      assert {text, Eval.holds?({:in, "f", type, [nil, value]}, record)} == {text, false}
    end
  end

  test "nil equals nothing, and is neither less nor more" do
    for {a, b} <- [{nil, nil}, {nil, 1}, {1, nil}], do: refute(Eval.equal?(a, b))

    for where <- [
          {:eq, "f", :int8, nil},
          {:eq, "f", :int8, 1},
          {:in, "f", :int8, [nil, 1]},
          {:other, {:gt, "f", :int8, 0}},
          {:other, {:lt, "f", :int8, nil}}
        ],
        record <- [%{}, %{"f" => nil}] do
      assert Eval.evaluate(where, record) == {:ok, false}
    end

    for where <- [{:eq, "f", :int8, nil}, {:other, {:lt, "f", :int8, nil}}] do
      assert Eval.evaluate(where, %{"f" => "1"}) == {:ok, false}
    end
  end

  test "clauses are put together, and are undecided where a field of theirs doesn't parse" do
    {yes, no} = {{:eq, "a", :int8, 1}, {:eq, "a", :int8, 2}}
    unread = {:eq, "b", :int8, 1}
    record = %{"a" => "1", "b" => "?"}

    for {where, result} <- [
          {nil, {:ok, true}},
          {yes, {:ok, true}},
          {no, {:ok, false}},
          {{:and, yes, nil}, {:ok, true}},
          {{:and, yes, no}, {:ok, false}},
          {{:and, no, no}, {:ok, false}},
          {{:or, yes, no}, {:ok, true}},
          {{:or, no, no}, {:ok, false}},
          {{:in, "a", :int8, []}, {:ok, false}},
          {{:other, {:lt, "a", :int8, 2}}, {:ok, true}},
          {{:other, {:gt, "a", :int8, 2}}, {:ok, false}},
          {{:other, &(&1["b"] == "?")}, {:ok, true}},
          {unread, :error},
          {{:in, "b", :int8, [1]}, :error},
          {{:or, yes, unread}, :error},
          {{:and, unread, no}, :error}
        ] do
      assert {where, Eval.evaluate(where, record)} == {where, result}
      assert Eval.holds?(where, record) == (result == {:ok, true})
    end
  end
end
