defmodule LsmIndex.LoaderTest do
  use LsmIndex.Case, async: true

  # Around the size of a chunk, where the last one is short, full or missing.
  @sizes [0, 1, 4_095, 4_096, 4_097, 8_192, 20_000]
  # To write so many takes long enough to come in between.
  @many_lanes [num_lanes: 16_384]
  @many_pairs 100_000

  defp pairs(size), do: for(n <- 1..size//1, do: {"key:#{n}", n})

  test "loads lists and other enumerables of every size" do
    for size <- @sizes, wrap <- [& &1, &Stream.map(&1, fn pair -> pair end), &Map.new/1] do
      index = memory_index()
      assert LsmIndex.load(index, wrap.(pairs(size))) == {:ok, size}
      assert LsmIndex.count(index) == size
      assert LsmIndex.get_many(index, for(n <- 1..size//1, do: "key:#{n}")) == each_alone(size)
    end
  end

  defp each_alone(size), do: for(n <- 1..size//1, do: [n])

  test "adds to what is there, in overlays and in segments" do
    index = memory_index()
    assert :ok = LsmIndex.put(index, "a", 1)
    assert {:ok, 2} = LsmIndex.load(index, [{"a", 2}, {"b", 2}])
    assert :ok = LsmIndex.put(index, "a", 3)
    assert {:ok, 3} = LsmIndex.load(index, [{"a", 4}, {"a", 2}, {"b", 1}])
    assert LsmIndex.get_many(index, ["a", "b"]) == [[1, 2, 3, 4], [1, 2]]
    assert LsmIndex.count(index) == 2
  end

  test "brings back what was deleted" do
    index = memory_index()
    assert {:ok, 1} = LsmIndex.load(index, [{"a", 1}])
    assert :ok = LsmIndex.delete(index, "a", 1)
    assert {:ok, 1} = LsmIndex.load(index, [{"a", 1}])
    assert LsmIndex.get(index, "a") == [1]
  end

  test "a pair given many times counts as often but is there once" do
    index = memory_index()
    assert {:ok, 10_000} = LsmIndex.load(index, List.duplicate({"a", 1}, 10_000))
    assert LsmIndex.get(index, "a") == [1]
    assert LsmIndex.count(index) == 1
  end

  test "names the wrong element, wherever it is, and leaves the index usable" do
    wrong = [
      {{"a", -1}, :id_out_of_range},
      {{"a", 2_147_483_648}, :id_out_of_range},
      {{"a", 1.5}, :invalid_argument},
      {{%{}, 1}, :invalid_argument},
      {{"a", 1, 2}, :invalid_argument},
      {"a", :invalid_argument},
      {{:binary.copy("k", 65_536), 1}, :key_too_long}
    ]

    for {element, reason} <- wrong,
        position <- [0, 1, 4_095, 4_096, 9_999],
        stream? <- [true, false] do
      index = memory_index()
      elements = List.insert_at(pairs(10_000), position, element)
      elements = if stream?, do: Stream.map(elements, & &1), else: elements
      assert {:error, %Error{} = error} = LsmIndex.load(index, elements)
      assert error.reason == reason
      assert %{position: ^position, element: ^element} = error.detail
      assert error.message =~ "element #{position} of the enumerable"
      assert byte_size(error.message) < 500
      assert LsmIndex.load(index, pairs(10_000)) == {:ok, 10_000}
      assert LsmIndex.count(index) == 10_000
    end
  end

  test "of several wrong elements the first is named, with what is wrong with it" do
    # Each at the end and in the middle of a chunk, and followed by faults of every kind.
    faults = [
      {{"a", -1}, :id_out_of_range, "-1"},
      {{"b", -2}, :id_out_of_range, "-2"},
      {{:binary.copy("k", 70_000), 1}, :key_too_long, "70000"},
      {:not_a_pair, :invalid_argument, "{key, id}"}
    ]

    for {first, reason, shown} <- faults,
        {position, others} <- [
          {0, [1, 4_095]},
          {9, [10, 5_000]},
          {4_095, [4_096]},
          {5_000, [5_001]}
        ],
        stream? <- [true, false] do
      elements =
        for n <- 0..9_999 do
          cond do
            n == position -> first
            n in others -> faults |> Enum.random() |> elem(0)
            true -> {"key:#{n}", n}
          end
        end

      elements = if stream?, do: Stream.map(elements, & &1), else: elements
      assert {:error, error} = LsmIndex.load(memory_index(), elements)
      assert %Error{reason: ^reason, detail: %{position: ^position, element: ^first}} = error
      assert [_, named, fault] = Regex.run(~r/^(element \d+).*?: (.*)$/, error.message)
      assert named == "element #{position}"
      assert fault =~ shown
      with {_key, id} when reason == :id_out_of_range <- first, do: assert(error.detail.id == id)
    end
  end

  describe "the caller" do
    test "gets no message of the processes that write, also if it traps exits" do
      Process.flag(:trap_exit, true)
      assert LsmIndex.load(memory_index(), pairs(10_000)) == {:ok, 10_000}
      assert {:error, _error} = LsmIndex.load(memory_index(), pairs(5_000) ++ [:wrong])
      closed = memory_index()
      assert {:error, %Error{reason: :closed}} = LsmIndex.load(closed, closing(closed))
      assert Process.info(self(), [:messages, :links]) == [messages: [], links: []]
    end

    # A load may be done before anybody could come in between. Then that is tried again.
    test "hears of one that is killed, and nothing is left of the others" do
      eventually(
        fn ->
          index = memory_index(@many_lanes)
          caller = self()
          killer = spawn(fn -> caller |> writers() |> hd() |> Process.exit(:kill) end)
          result = load_or_exit(index)
          Process.exit(killer, :kill)
          await_end(killer)
          assert Process.info(self(), [:messages, :monitors]) == [messages: [], monitors: []]
          assert LsmIndex.load(index, [{"a", 1}]) == {:ok, 1}
          result == {:exit, {:killed, {LsmIndex, :load, 2}}}
        end,
        20
      )
    end

    test "takes them along when it dies" do
      eventually(
        fn ->
          index = memory_index(@many_lanes)
          caller = spawn(fn -> load_or_exit(index) end)
          _at_work = writers(caller)
          Process.exit(caller, :kill)
          await_end(caller)
          eventually(fn -> writers(caller) == [] end)
          LsmIndex.count(index) < @many_pairs
        end,
        20
      )
    end
  end

  defp load_or_exit(index) do
    LsmIndex.load(index, pairs(@many_pairs))
  catch
    :exit, reason -> {:exit, reason}
  end

  # The processes that write lanes for a load under way; none if the caller ended before.
  defp writers(caller) do
    writers =
      for pid <- Task.Supervisor.children(LsmIndex.Tasks),
          {:dictionary, dictionary} <- [Process.info(pid, :dictionary)],
          dictionary[:"$callers"] == [caller],
          do: pid

    if writers == [] and Process.alive?(caller), do: writers(caller), else: writers
  end

  defp closing(index) do
    Stream.map(1..10_000, fn n ->
      if n == 9_000, do: :ok = LsmIndex.close(index)
      {"key:#{n}", n}
    end)
  end

  test "refuses what is no enumerable, and an improper list" do
    index = memory_index()

    for value <- [5, nil, "pairs", {"a", 1}] do
      assert {:error, %Error{reason: :invalid_argument} = error} = LsmIndex.load(index, value)
      assert error.message =~ inspect(value)
    end

    assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.load(index, [{"a", 1} | "b"])
  end

  test "an enumerable that raises leaves the index usable" do
    index = memory_index()
    raising = Stream.map(1..10_000, &if(&1 < 9_000, do: {"key:#{&1}", &1}, else: raise("enough")))
    assert_raise RuntimeError, "enough", fn -> LsmIndex.load(index, raising) end
    assert LsmIndex.load(index, pairs(10_000)) == {:ok, 10_000}
    assert LsmIndex.count(index) == 10_000
  end

  test "an enumerable that throws is not mistaken for a failure of ours" do
    index = memory_index()
    throwing = Stream.map(1..10, fn _ -> throw(:out) end)
    assert catch_throw(LsmIndex.load(index, throwing)) == :out
  end

  test "what is too much for memory is written on the way" do
    for most_held <- [1, 5_000, 100_000] do
      {:ok, index} = LsmIndex.open(:memory, num_lanes: 8)
      pairs = Stream.map(1..30_000, &{"key:#{rem(&1, 20_000)}", &1})
      assert LsmIndex.Loader.load(index, pairs, most_held) == {:ok, 30_000}
      assert LsmIndex.count(index) == 20_000
      assert LsmIndex.get(index, "key:7") == [7, 20_007]
      assert LsmIndex.get(index, "key:19999") == [19_999]
      # In one go, every lane would be written once.
      written = LsmIndex.stats(index).flushes + LsmIndex.stats(index).total_segments
      assert if(most_held == 100_000, do: written == 8, else: written > 8)
    end
  end

  test "an enumerable may read and write the index it is loaded into" do
    index = memory_index()
    assert :ok = LsmIndex.put(index, "seed", 1)

    pairs =
      Stream.map(1..10_000, fn n ->
        [1] = LsmIndex.get(index, "seed")
        :ok = LsmIndex.put(index, "other:#{n}", n)
        {"key:#{n}", n}
      end)

    assert {:ok, 10_000} = LsmIndex.load(index, pairs)
    assert LsmIndex.count(index) == 20_001
  end
end
