defmodule LsmIndex.TermCodeTest do
  # Terms in the dictionary: docs/format.md has the bytes, and no release changes them.
  use ExUnit.Case, async: true

  alias LsmIndex.{Index, Native}

  @golden [
    {"", "00"},
    {"shape", "007368617065"},
    {0, "0100"},
    {1, "010101"},
    {255, "0101ff"},
    {256, "01020001"},
    {-1, "020101"},
    {-256, "02020001"},
    {0x7FFF_FFFF_FFFF_FFFF, "0108ffffffffffffff7f"},
    {-0x8000_0000_0000_0000, "02080000000000000080"},
    {0x8000_0000_0000_0000, "01080000000000000080"},
    {0x1_0000_0000_0000_0000, "0109000000000000000001"},
    {nil, "04036e696c"},
    {:ok, "04026f6b"},
    {:ä, "0402c3a4"},
    {:"€", "0403e282ac"},
    {{}, "0500"},
    {{1, "a"}, "05020101010301" <> "61"},
    {[], "0600"},
    {[1, 2], "0602010101010102"},
    {[1 | 2], "0901010101010102"},
    {%{}, "0700"},
    {%{b: 1, a: 2}, "07020401610101020401620101" <> "01"},
    {1.5, "083ff8000000000000"},
    {-0.0, "088000000000000000"},
    {<<1::1>>, "0a010180"},
    {{<<5::12>>}, "05010a04020050"}
  ]

  test "has the documented bytes" do
    for {term, hex} <- @golden do
      assert {term, Base.encode16(Native.term_key(term), case: :lower)} == {term, hex}
    end
  end

  test "refuses what does not last" do
    for term <- [self(), make_ref(), fn -> 1 end, &is_atom/1, hd(Port.list()), {[self()]}] do
      assert Native.term_key(term) == :error
    end
  end

  test "is the same for terms that are the same, and for no others" do
    :rand.seed(:exsss, 11)
    terms = Enum.uniq(for _ <- 1..4000, do: random_term(3))
    assert length(terms) > 1000
    keys = Enum.map(terms, &Native.term_key/1)
    assert length(Enum.uniq(keys)) == length(terms)
    # The same, in other words of memory.
    copies = for term <- terms, do: term |> :erlang.term_to_binary() |> :erlang.binary_to_term()
    assert Enum.map(copies, &Native.term_key/1) == keys
    pairs = for n <- 1..100, do: {{n}, [n]}
    assert Native.term_key(Map.new(pairs)) == Native.term_key(Map.new(Enum.reverse(pairs)))
  end

  test "that is long is not for a normal scheduler" do
    binary = String.duplicate("x", 16_000)

    for term <- [
          binary <> binary <> binary <> binary <> binary,
          List.duplicate(binary, 100),
          List.to_tuple(List.duplicate(binary, 100)),
          Map.new(1..100, &{&1, binary}),
          Map.new(1..100, &{{&1, binary}, &1}),
          Enum.to_list(1..100_000)
        ] do
      assert Native.term_key(term) == :large
      assert Native.name_code(term) == :large
      assert Native.term_key_dirty(term) |> byte_size() > 64_000
    end

    index = Native.new_memory(%{})
    name = List.duplicate(1, 8_000)
    names = for n <- 1..256, do: [n | name]
    assert Native.text_get_many(index, for(name <- names, do: {name, :int8, "1"})) == :large
    assert Native.text_get_many(index, List.duplicate({:name, :int8, "1"}, 257)) == :large
    assert Native.text_get_many(index, [{name, :int8, "1"}]) == [{[], []}]
  end

  test "brings every term back" do
    :rand.seed(:exsss, 12)
    index = LsmEqualityIndex.new(:int8, residual: fn _rest, _record, _shape -> true end)

    passing = [self(), make_ref(), {self(), [make_ref()]}, fn x -> x end, hd(Port.list())]
    golden = Enum.map(@golden, &elem(&1, 0))

    deep =
      Enum.reduce(1..20_000, "deep", fn n, inner ->
        if rem(n, 2) == 0, do: {inner}, else: [inner]
      end)

    large = [String.duplicate("x", 100_000), Enum.to_list(1..20_000)]

    for term <- passing ++ golden ++ [deep | large] ++ for(_ <- 1..1000, do: random_term(4)) do
      Index.add_shape(index, 1, term, nil)
      Index.add_shape(index, 2, term, term)
      assert [found] = MapSet.to_list(affected(index, "1"))
      assert found === term
      assert [found] = MapSet.to_list(affected(index, "2"))
      assert found === term
      Index.remove_shape(index, 1, term, nil)
      Index.remove_shape(index, 2, term, term)
      assert Index.empty?(index)
    end
  end

  test "knows atoms that the VM has not seen" do
    # As after a restart: the atom is not made by this file.
    index = LsmEqualityIndex.new(:int8)
    name = "an atom from #{System.unique_integer([:positive])}"
    Index.add_shape(index, 1, {String.to_atom(name)}, nil)
    assert [{atom}] = MapSet.to_list(affected(index, "1"))
    assert Atom.to_string(atom) == name
  end

  defp affected(index, text), do: Index.affected_shapes(index, "id", %{"id" => text}, %{})

  defp random_term(depth) do
    case :rand.uniform(if depth == 0, do: 7, else: 12) do
      1 -> :rand.uniform(5) - 3
      2 -> (:rand.uniform(5) - 3) * Integer.pow(2, :rand.uniform(300))
      3 -> Enum.random([:a, :b, nil, true, :ä, :"€", :"with space"])
      4 -> :crypto.strong_rand_bytes(:rand.uniform(4) - 1)
      5 -> Enum.random([0.5, 1.0, -1.5, 1.0e300, 5.0e-324])
      6 -> <<:rand.uniform(8)::size(:rand.uniform(12))>>
      7 -> Enum.random([[], {}, %{}, ""])
      8 -> List.to_tuple(random_terms(depth))
      9 -> random_terms(depth)
      10 -> [random_term(depth - 1) | Enum.random([:tail, "tail", 7])]
      11 -> Map.new(random_terms(depth), &{&1, random_term(depth - 1)})
      12 -> %{random_term(depth - 1) => %{random_term(depth - 1) => :v}}
    end
  end

  defp random_terms(depth),
    do: for(_ <- 1..:rand.uniform(4), do: random_term(depth - 1)) |> Enum.drop(1)
end
