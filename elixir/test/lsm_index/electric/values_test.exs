defmodule LsmIndex.Electric.ValuesTest do
  # The values that clauses and records are made of are what they are said to be.

  use ExUnit.Case, async: true

  alias LsmIndex.Test.Electric.{Eval, Values}

  test "are of all types" do
    assert Enum.sort(Values.types()) == Enum.sort(LsmIndex.Postgres.types())
  end

  test "are equal however they are written, and to no others" do
    for type <- Values.types(),
        {constants, texts} <- Values.all(type),
        {others, _texts} <- Values.all(type),
        text <- texts,
        constant <- others do
      equal? = constants == others
      holds? = Eval.holds?({:eq, "f", type, constant}, %{"f" => text})
      assert {type, text, constant, holds?} == {type, text, constant, equal?}
    end
  end

  test "have no texts that are bad" do
    for type <- Values.types(), text <- Values.bad_texts(type) do
      assert {type, text, Eval.parse(type, text)} == {type, text, :error}
      assert {type, text, LsmIndex.Postgres.parse(type, text)} == {type, text, :error}
    end
  end
end
