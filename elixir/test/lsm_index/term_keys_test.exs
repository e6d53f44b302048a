defmodule LsmIndex.TermKeysTest do
  # Keys given as terms: docs/format.md has their bytes, and no release changes them.
  use LsmIndex.Case, async: true

  @terms [
    0,
    1,
    -1,
    256,
    0x7FFF_FFFF_FFFF_FFFF,
    -0x8000_0000_0000_0000,
    :a,
    :"",
    nil,
    true,
    :ünï,
    :日本語,
    :"Elixir.LsmIndex",
    {:a},
    {"a"},
    {1},
    {:user, 42},
    {"user", 42},
    {1, "user_id", 7},
    {:a, "b"},
    {"a", :b},
    {"a", "b"},
    {"ab"},
    {"a", "b", ""},
    {"", "a", "b"},
    {1, 2, 3, 4, 5, 6, 7, 8},
    {1, 2, 3, 4, 5, 6, 7, :"8"},
    List.to_tuple(for n <- 1..8, do: :binary.copy("#{n}", 1_000))
  ]
  @binaries ["", "a", "ab", "user", <<1>>, <<1, 1, 1>>, <<4, 1, ?a>>, <<5, 1, 4, 1, ?a>>]

  # Half of the atoms' names are in Latin-1, some beyond.
  @atoms [:a, :b, :"1", :ab, :ä, :"ä b", :"€", nil, true, :""]

  test "every kind is a key of its own, by every way there is" do
    index = memory_index(num_lanes: 4)
    keys = @terms ++ @binaries
    numbered = Enum.with_index(keys)

    for {key, n} <- numbered, do: assert(:ok = LsmIndex.put(index, key, n))
    assert LsmIndex.count(index) == length(keys)
    assert LsmIndex.get_many(index, keys) == for(n <- 0..(length(keys) - 1), do: [n])
    # On a dirty scheduler.
    many = List.duplicate(keys, 100)
    assert index |> LsmIndex.get_many(Enum.concat(many)) |> Enum.take(-1) == [[length(keys) - 1]]

    for {key, n} <- numbered do
      assert LsmIndex.get(index, key) == [n]
      assert LsmIndex.member?(index, key, n)
      refute LsmIndex.member?(index, key, n + 1)
      assert :ok = LsmIndex.put(index, key, n + 1, durability: :os)
      assert :ok = LsmIndex.delete(index, key, n, durability: :sync)
    end

    assert LsmIndex.get_many(index, keys) == for(n <- 1..length(keys), do: [n])
    for {key, n} <- numbered, do: assert(:ok = LsmIndex.delete(index, key, n + 1))
    assert LsmIndex.empty?(index)

    puts = for {key, n} <- numbered, do: {:put, key, n}
    assert :ok = LsmIndex.write(index, puts)
    assert :ok = LsmIndex.write(index, for({:put, key, n} <- puts, do: {:delete, key, n}))
    assert LsmIndex.empty?(index)
    assert :ok = LsmIndex.write(index, puts, durability: :os)
    assert LsmIndex.get_many(index, keys) == for(n <- 0..(length(keys) - 1), do: [n])

    other = memory_index()
    assert {:ok, _count} = LsmIndex.load(other, Enum.reverse(numbered))
    assert LsmIndex.get_many(other, keys) == LsmIndex.get_many(index, keys)
  end

  @tag :tmp_dir
  test "keys mean the same after a restart, from segments and from the log", %{tmp_dir: dir} do
    {:ok, index} = LsmIndex.open(dir, num_lanes: 2)
    {early, late} = Enum.split(Enum.with_index(@terms ++ @binaries), 20)
    assert {:ok, 20} = LsmIndex.load(index, early)
    assert :ok = LsmIndex.write(index, for({key, n} <- late, do: {:put, key, n}))
    copy = Path.join(dir, "copy")
    File.mkdir_p!(copy)

    for file <- File.ls!(dir) -- ["copy"],
        do: File.cp_r!(Path.join(dir, file), Path.join(copy, file))

    assert :ok = LsmIndex.close(index)

    # One that was closed, and one that was not.
    for path <- [dir, copy] do
      {:ok, index} = LsmIndex.open(path)
      assert_found(index, early ++ late)
      assert :ok = LsmIndex.compact(index)
      assert_found(index, early ++ late)
      assert :ok = LsmIndex.close(index)
    end
  end

  defp assert_found(index, numbered) do
    for {key, n} <- numbered, do: assert({key, LsmIndex.get(index, key)} == {key, [n]})
    assert LsmIndex.count(index) == length(numbered)
  end

  test "two keys are one exactly if the terms are the same" do
    :rand.seed(:exsss, 17)
    index = memory_index()
    keys = Enum.uniq(for _ <- 1..20_000, do: random_key())
    assert length(keys) > 5_000
    assert Enum.count(keys, &is_tuple/1) > 2_000
    numbered = Enum.with_index(keys)
    assert {:ok, count} = LsmIndex.load(index, numbered)
    assert count == LsmIndex.count(index)
    # The same, in other words of memory.
    copies = for key <- keys, do: key |> :erlang.term_to_binary() |> :erlang.binary_to_term()
    assert LsmIndex.get_many(index, copies) == for({_key, n} <- numbered, do: [n])
    # Their encodings are binaries, and as such other keys.
    assert Enum.all?(LsmIndex.get_many(index, Enum.map(keys, &LsmIndex.Native.term_key/1)), fn
             [] -> true
             [n] -> keys |> Enum.at(n) |> is_binary()
           end)
  end

  # Few values, so that what differs, differs in little.
  defp random_key do
    case :rand.uniform(4) do
      1 -> random_part()
      _ -> List.to_tuple(for _ <- 1..:rand.uniform(8), do: random_part())
    end
  end

  defp random_part do
    case :rand.uniform(5) do
      1 ->
        Enum.random(@atoms)

      2 ->
        Enum.random(["", "a", "b", "ab", "1", "ä", <<0>>, <<4, 1, 97>>, :binary.copy("x", 130)])

      3 ->
        Enum.random([0, 1, -1, 97, 255, 256, 65_536, -256, 2 ** 63 - 1, -(2 ** 63), 2 ** 32])

      4 ->
        :rand.uniform(2 ** 63) - 2 ** 62

      5 ->
        :crypto.strong_rand_bytes(:rand.uniform(3))
    end
  end

  test "what is no key is refused wherever a key belongs" do
    index = memory_index()
    nine = {1, 2, 3, 4, 5, 6, 7, 8, 9}

    refused = [
      1.0,
      -0.0,
      %{},
      %{a: 1},
      [],
      ~c"key",
      ["a" | "b"],
      self(),
      make_ref(),
      &is_atom/1,
      hd(Port.list()),
      <<1::7>>,
      <<1, 2, 3::2>>,
      2 ** 63,
      -(2 ** 63) - 1,
      2 ** 64,
      2 ** 20_000,
      {},
      nine,
      Tuple.duplicate(1, 100_000),
      {{1}},
      {1, {2, 3}},
      {1.0},
      {1, 1.0},
      {:a, "b", nil, [1]},
      {:a, %{}},
      {self()},
      {2 ** 63},
      {1, <<1::1>>},
      {1, 2, 3, 4, 5, 6, 7, 8.0}
    ]

    for key <- refused do
      calls = [
        put: [key, 1],
        put: [key, 1, [durability: :os]],
        delete: [key, 1],
        delete: [key, 1, [durability: :os]],
        write: [[{:put, "good", 1}, {:put, key, 1}]],
        write: [List.duplicate({:put, "good", 1}, 300) ++ [{:delete, key, 1}]],
        write: [[{:put, key, 1}], [durability: :sync]],
        load: [[{"good", 1}, {key, 1}]]
      ]

      for {function, arguments} <- calls do
        assert {:error, %Error{reason: :invalid_argument} = error} =
                 apply(LsmIndex, function, [index | arguments])

        assert error.message =~ "the key is neither a binary"
      end

      reads = [
        get: [key],
        get_many: [["good", key]],
        get_many: [List.duplicate("good", 2_000) ++ [key]],
        member?: [key, 1]
      ]

      for {function, arguments} <- reads do
        error = assert_raise Error, fn -> apply(LsmIndex, function, [index | arguments]) end
        assert error.reason == :invalid_argument
      end
    end

    assert LsmIndex.empty?(index)
  end

  test "an encoding is as long as a key at the most" do
    index = memory_index()
    # A tuple's two bytes, and four of a tag and a length.
    longest = {:binary.copy("k", 65_535 - 6)}
    assert :ok = LsmIndex.put(index, longest, 1)
    assert LsmIndex.get(index, longest) == [1]

    part = :binary.copy("k", 65_535)

    for longer <- [{:binary.copy("k", 65_535 - 5)}, {part}, Tuple.duplicate(part, 8)] do
      assert {:error, %Error{reason: :key_too_long, detail: detail}} =
               LsmIndex.put(index, longer, 1)

      assert detail.len > detail.max
      batch = [{:put, "good", 1}, {:put, longer, 1}]
      assert {:error, %Error{reason: :key_too_long}} = LsmIndex.write(index, batch)
      assert {:error, %Error{reason: :key_too_long}} = LsmIndex.load(index, [{longer, 1}])
      assert_raise Error, ~r/longer than 65535/, fn -> LsmIndex.get_many(index, [longer]) end
    end

    assert LsmIndex.count(index) == 1
  end

  test "keys of a batch are bounded together on a normal scheduler" do
    %{ref: ref} = index = memory_index()
    long = {:binary.copy("k", 60_000)}
    few = [{long, 1}, {:k, 2}]
    assert LsmIndex.Native.get_many(ref, List.duplicate(long, 2)) == [[], []]
    assert LsmIndex.Native.get_many(ref, List.duplicate(long, 3)) == :large
    puts = for {key, n} <- few ++ few, do: {:put, key, n}
    assert LsmIndex.Native.write(ref, puts ++ puts) == :large
    assert :ok = LsmIndex.write(index, puts ++ puts)
    assert LsmIndex.get_many(index, [long, :k, long, long]) == [[1], [2], [1], [1]]
  end
end
