defmodule LsmIndexTest do
  use LsmIndex.Case, async: true
  doctest LsmIndex

  import Bitwise, only: [<<<: 2]

  @max_id 2_147_483_647

  describe "one index" do
    setup do
      %{index: memory_index()}
    end

    test "takes the shortest and the longest key, and the smallest and the largest id",
         %{index: index} do
      keys = ["", <<0>>, <<255, 0, 255>>, :binary.copy("k", 65_535)]

      for key <- keys do
        assert :ok = LsmIndex.put(index, key, 0)
        assert :ok = LsmIndex.put(index, key, @max_id)
        assert [0, @max_id] = LsmIndex.get(index, key)
      end

      assert LsmIndex.count(index) == 4
      assert LsmIndex.ids(index) == [0, @max_id]
    end

    test "takes keys that are slices of larger binaries", %{index: index} do
      <<_::binary-size(3), key::binary-size(4), _::binary>> = "abcuser42" <> "rest"
      assert :ok = LsmIndex.put(index, key, 1)
      assert LsmIndex.get(index, "user") == [1]
    end

    test "putting and deleting twice is putting and deleting once", %{index: index} do
      for _ <- 1..2, do: assert(:ok = LsmIndex.put(index, "a", 1))
      assert {[1], 1} = {LsmIndex.get(index, "a"), LsmIndex.count(index)}

      for _ <- 1..2, do: assert(:ok = LsmIndex.delete(index, "a", 1))
      assert {[], 0} = {LsmIndex.get(index, "a"), LsmIndex.count(index)}
      assert LsmIndex.empty?(index)
    end

    test "a key put, deleted and put again across flushes and compactions reads right",
         %{index: index} do
      settle = [fn -> :ok end, fn -> LsmIndex.flush(index) end, fn -> LsmIndex.compact(index) end]

      for first <- settle, second <- settle, third <- settle do
        assert :ok = LsmIndex.put(index, "a", 1)
        assert :ok = first.()
        assert [1] = LsmIndex.get(index, "a")
        assert :ok = LsmIndex.delete(index, "a", 1)
        assert :ok = second.()
        assert [] = LsmIndex.get(index, "a")
        assert LsmIndex.empty?(index)
        assert :ok = LsmIndex.put(index, "a", 2)
        assert :ok = third.()
        assert [2] = LsmIndex.get(index, "a")
        assert :ok = LsmIndex.delete(index, "a", 2)
      end
    end

    test "a hot key keeps many thousands of ids, whole and after removals", %{index: index} do
      assert {:ok, 20_000} = LsmIndex.load(index, for(id <- 1..20_000, do: {"hot", id}))
      assert LsmIndex.get(index, "hot") == Enum.to_list(1..20_000)

      odd = for id <- 1..20_000//2, do: {:delete, "hot", id}
      assert :ok = LsmIndex.write(index, odd)
      even = Enum.to_list(2..20_000//2)
      assert LsmIndex.get(index, "hot") == even
      assert LsmIndex.get_many(index, ["cold", "hot"]) == [[], even]
      assert :ok = LsmIndex.compact(index)
      assert LsmIndex.get(index, "hot") == even
      assert LsmIndex.member?(index, "hot", 20_000)
      refute LsmIndex.member?(index, "hot", 19_999)
    end

    test "a large batch of keys answers as the single look-ups do", %{index: index} do
      keys = for n <- 1..5_000, do: "key:#{n}"
      assert {:ok, 5_000} = LsmIndex.load(index, Enum.with_index(keys))
      asked = keys ++ ["absent"] ++ Enum.reverse(keys)
      assert LsmIndex.get_many(index, asked) == Enum.map(asked, &LsmIndex.get(index, &1))
      assert LsmIndex.get_many(index, []) == []
    end

    test "a batch is applied in order", %{index: index} do
      ops = [{:put, "a", 1}, {:delete, "a", 1}, {:delete, "b", 1}, {:put, "b", 1}]
      assert :ok = LsmIndex.write(index, ops)
      assert LsmIndex.get_many(index, ["a", "b"]) == [[], [1]]
      assert :ok = LsmIndex.write(index, [])
    end

    test "a batch with one wrong change applies none, short or long", %{index: index} do
      for length <- [1, 10, 1_000] do
        ops = for(n <- 1..length, do: {:put, "key:#{n}", n}) ++ [{:put, "last", -1}]
        assert {:error, %Error{reason: :id_out_of_range}} = LsmIndex.write(index, ops)
        assert LsmIndex.empty?(index)
      end
    end

    test "counts, sizes and bytes add up", %{index: index} do
      assert {:ok, 1_000} = LsmIndex.load(index, for(n <- 1..1_000, do: {"key:#{n}", n}))
      assert :ok = LsmIndex.put(index, "one more", 1)

      stats = LsmIndex.stats(index)
      assert %{num_lanes: 64, total_segment_entries: 1_000, total_overlay_entries: 1} = stats
      assert stats.total_entries == 1_001
      assert stats.total_segments in 1..(64 * 4)
      assert LsmIndex.count(index) == 1_001

      {total, parts} = Map.pop!(LsmIndex.memory(index), :total)
      {sections, parts} = Map.pop!(parts, :sections)
      assert %{signatures: signatures, filters: 0} = sections
      assert signatures >= 1_000
      assert sections |> Map.values() |> Enum.sum() <= parts.private_segments
      assert total > 12_000
      assert Enum.all?(parts, fn {_part, bytes} -> is_integer(bytes) and bytes >= 0 end)
      assert total == parts |> Map.values() |> Enum.sum()
    end

    test "sync is allowed in memory", %{index: index} do
      assert :ok = LsmIndex.put(index, "a", 1)
      assert :ok = LsmIndex.sync(index)
    end
  end

  describe "wrong input" do
    setup do
      %{index: memory_index()}
    end

    test "a key that is none", %{index: index} do
      for key <- [1.0, ~c"key", %{}, <<1::7>>, {}, {"key", {1}}] do
        assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.put(index, key, 1)
        assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.delete(index, key, 1)

        assert {:error, %Error{reason: :invalid_argument}} =
                 LsmIndex.write(index, [{:put, key, 1}])

        assert raised(fn -> LsmIndex.get(index, key) end).reason == :invalid_argument
        assert raised(fn -> LsmIndex.get_many(index, [key]) end).reason == :invalid_argument
        assert raised(fn -> LsmIndex.member?(index, key, 1) end).reason == :invalid_argument
      end
    end

    test "a key that is too long", %{index: index} do
      key = :binary.copy("k", 65_536)
      assert {:error, %Error{reason: :key_too_long} = error} = LsmIndex.put(index, key, 1)
      assert error.message =~ "65535" or error.message =~ "65_535" or error.message =~ "65536"
      assert {:error, %Error{reason: :key_too_long}} = LsmIndex.delete(index, key, 1)
      assert {:error, %Error{reason: :key_too_long}} = LsmIndex.write(index, [{:put, key, 1}])
      assert raised(fn -> LsmIndex.get(index, key) end).reason == :key_too_long
      assert raised(fn -> LsmIndex.get_many(index, ["a", key]) end).reason == :key_too_long
    end

    test "an id that is out of range or no integer", %{index: index} do
      for id <- [-1, @max_id + 1, 1 <<< 64, -(1 <<< 80)] do
        assert {:error, %Error{reason: :id_out_of_range}} = LsmIndex.put(index, "a", id)
        assert {:error, %Error{reason: :id_out_of_range}} = LsmIndex.delete(index, "a", id)
      end

      for id <- [1.0, "1", nil, :one] do
        assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.put(index, "a", id)
        assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.delete(index, "a", id)
        assert raised(fn -> LsmIndex.member?(index, "a", id) end).reason == :invalid_argument
      end
    end

    test "a batch that is no list of changes", %{index: index} do
      for ops <- [
            :put,
            %{},
            [{:put, "a", 1} | :improper],
            [{:insert, "a", 1}],
            [{:put, "a"}],
            [:put]
          ] do
        assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.write(index, ops)
      end

      long = for n <- 1..1_000, do: {:put, "key:#{n}", n}

      for ops <- [long ++ [:put], long ++ {:put, "a", 1}] do
        assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.write(index, ops)
      end

      assert LsmIndex.empty?(index)
    end

    test "keys that are no list", %{index: index} do
      for keys <- [:all, "a", %{}, ["a" | "b"]] do
        assert raised(fn -> LsmIndex.get_many(index, keys) end).reason == :invalid_argument
      end
    end

    test "an index that is none" do
      # Through `apply`, as newer compilers warn of what would be wrong at first sight.
      for {function, arguments} <- [get: ["index", "a"], put: [%{}, "a", 1], stats: [self()]] do
        assert_raise FunctionClauseError, fn -> apply(LsmIndex, function, arguments) end
      end
    end

    test "a name under which nothing is started" do
      assert {:error, %Error{reason: :not_found, message: message}} = LsmIndex.put(Nobody, "a", 1)
      assert message =~ "Nobody"
      assert {:error, %Error{reason: :not_found}} = LsmIndex.delete(Nobody, "a", 1)
      assert {:error, %Error{reason: :not_found}} = LsmIndex.write(Nobody, [])
      assert {:error, %Error{reason: :not_found}} = LsmIndex.load(Nobody, [])
      assert {:error, %Error{reason: :not_found}} = LsmIndex.flush(Nobody)
      assert {:error, %Error{reason: :not_found}} = LsmIndex.sync(Nobody)
      assert raised(fn -> LsmIndex.get(Nobody, "a") end).reason == :not_found
      assert raised(fn -> LsmIndex.stats(Nobody) end).reason == :not_found
      assert :ok = LsmIndex.close(Nobody)
    end
  end

  describe "a closed index" do
    setup do
      index = memory_index()
      :ok = LsmIndex.put(index, "a", 1)
      :ok = LsmIndex.close(index)
      %{index: index}
    end

    test "refuses writes", %{index: index} do
      for write <- [
            &LsmIndex.put(&1, "a", 1),
            &LsmIndex.delete(&1, "a", 1),
            &LsmIndex.write(&1, [{:put, "a", 1}]),
            &LsmIndex.write(&1, for(n <- 1..1_000, do: {:put, "a", n})),
            &LsmIndex.load(&1, [{"a", 1}]),
            &LsmIndex.flush/1,
            &LsmIndex.compact/1,
            &LsmIndex.warm/1,
            &LsmIndex.sync/1
          ] do
        assert {:error, %Error{reason: :closed}} = write.(index)
      end
    end

    test "raises on reads", %{index: index} do
      for read <- [
            &LsmIndex.get(&1, "a"),
            &LsmIndex.get_many(&1, ["a"]),
            &LsmIndex.get_many(&1, List.duplicate("a", 5_000)),
            &LsmIndex.member?(&1, "a", 1),
            &LsmIndex.ids/1,
            &LsmIndex.empty?/1,
            &LsmIndex.count/1,
            &LsmIndex.stats/1,
            &LsmIndex.memory/1
          ] do
        assert raised(fn -> read.(index) end).reason == :closed
      end
    end

    test "closes again, and inspects as before", %{index: index} do
      assert :ok = LsmIndex.close(index)
      assert inspect(index) == "#LsmIndex<:memory, lanes: 64>"
    end
  end

  describe "verify" do
    @describetag :tmp_dir

    test "reports on an open and on a closed index", %{tmp_dir: dir} do
      path = Path.join(dir, "index")
      {:ok, index} = LsmIndex.open(path, num_lanes: 2)
      {:ok, 100} = LsmIndex.load(index, for(n <- 1..100, do: {"key:#{n}", n}))
      assert {:ok, %{lanes: 2, entries: 100, live_keys: 100} = open} = LsmIndex.verify(path)
      :ok = LsmIndex.put(index, "one more", 1)
      assert {:ok, logged} = LsmIndex.verify(path)
      # The log has it, no segment yet.
      assert logged.batches == 1
      in_segments = [:entries, :live_keys, :segments, :faults, :leftovers, :torn]
      assert Map.take(logged, in_segments) == Map.take(open, in_segments)
      :ok = LsmIndex.close(index)
      assert {:ok, %{lanes: 2, entries: 101, live_keys: 101}} = LsmIndex.verify(path)
    end

    test "lists every file, and says how far it is", %{tmp_dir: dir} do
      path = Path.join(dir, "index")
      {:ok, index} = LsmIndex.open(path, num_lanes: 8)
      {:ok, 100} = LsmIndex.load(index, for(n <- 1..100, do: {"key:#{n}", n}))
      :ok = LsmIndex.close(index)

      test = self()
      {:ok, report} = LsmIndex.verify(path, progress: &send(test, {:progress, &1}))
      on_disk = for file <- Path.wildcard(path <> "/**"), File.regular?(file), do: file
      data = Enum.reject(on_disk, &(Path.basename(&1) == "LOCK"))
      assert Enum.sort(for file <- report.checked, do: file.path) == Enum.sort(data)
      assert Enum.all?(report.checked, &(&1.sound and &1.bytes == File.stat!(&1.path).size))

      told = for _ <- 1..8, do: assert_receive({:progress, %{bytes: _}}) |> elem(1)
      assert Enum.map(told, & &1.bytes) == Enum.sort(Enum.map(told, & &1.bytes))
      assert Enum.all?(told, &(&1.bytes <= &1.of_bytes))
      assert {:error, %Error{reason: :invalid_option}} = LsmIndex.verify(path, progress: 1)
    end

    test "tells all faults there are", %{tmp_dir: dir} do
      path = Path.join(dir, "index")
      {:ok, index} = LsmIndex.open(path, num_lanes: 2)
      {:ok, 100} = LsmIndex.load(index, for(n <- 1..100, do: {"key:#{n}", n}))
      :ok = LsmIndex.close(index)
      segments = Path.wildcard(path <> "/**/*.seg")
      assert length(segments) == 2

      for segment <- segments do
        {:ok, :ok} =
          File.open(segment, [:read, :write, :binary], &:file.pwrite(&1, 300, "damage"))
      end

      assert {:error, %Error{reason: :corrupt, detail: detail}} = LsmIndex.verify(path)
      assert detail.path == hd(segments)
      assert Enum.map(detail.report.faults, & &1.detail.path) == segments
      assert for(%{sound: false, path: path} <- detail.report.checked, do: path) == segments
    end

    test "finds a flipped bit in every file", %{tmp_dir: dir} do
      path = Path.join(dir, "index")
      {:ok, index} = LsmIndex.open(path, num_lanes: 1)
      {:ok, 100} = LsmIndex.load(index, for(n <- 1..100, do: {"key:#{n}", n}))
      :ok = LsmIndex.close(index)
      files = for file <- Path.wildcard(path <> "/**"), File.regular?(file), do: file
      files = Enum.reject(files, &(Path.basename(&1) == "LOCK"))
      assert Enum.any?(files, &(Path.extname(&1) == ".seg"))

      for file <- files do
        bytes = File.read!(file)
        middle = div(byte_size(bytes), 2)

        {before, rest} =
          {binary_part(bytes, 0, middle),
           binary_part(bytes, middle + 1, byte_size(bytes) - middle - 1)}

        File.write!(file, [before, Bitwise.bxor(:binary.at(bytes, middle), 1), rest])
        assert {:error, %Error{} = error} = LsmIndex.verify(path), "#{file} was damaged"
        assert error.reason in [:corrupt, :unsupported_version, :not_found]
        assert error.message =~ Path.basename(file)
        File.write!(file, bytes)
      end

      assert {:ok, _report} = LsmIndex.verify(path)
    end

    test "says so where no index is", %{tmp_dir: dir} do
      assert {:error, %Error{reason: :not_found}} = LsmIndex.verify(Path.join(dir, "nothing"))
      assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.verify(:memory)
      assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.verify(nil)
    end
  end

  defp raised(read) do
    assert_raise(Error, fn -> read.() end)
  end

  describe "repair" do
    @describetag :tmp_dir

    test "tells what it would do, and does it when told so", %{tmp_dir: dir} do
      path = Path.join(dir, "index")
      {:ok, index} = LsmIndex.open(path, num_lanes: 1)
      {:ok, 100} = LsmIndex.load(index, for(n <- 1..100, do: {"key:#{n}", n}))
      assert {:error, %Error{reason: :locked}} = LsmIndex.repair(path)
      :ok = LsmIndex.close(index)
      assert LsmIndex.repair(path) == {:ok, []}

      [segment] = Path.wildcard(path <> "/**/*.seg")
      size = File.stat!(segment).size
      {:ok, :ok} = File.open(segment, [:read, :write, :binary], &:file.pwrite(&1, size - 1, "?"))
      assert {:error, %Error{reason: :corrupt}} = LsmIndex.verify(path)

      assert {:ok, [remedy]} = LsmIndex.repair(path)
      assert %{path: ^segment, lost: {:keys, 100}, fault: fault} = remedy
      assert fault =~ "checksum"
      assert {:error, %Error{reason: :corrupt}} = LsmIndex.verify(path)

      assert LsmIndex.repair(path, apply: true) == {:ok, [remedy]}
      assert {:ok, %{live_keys: 0}} = LsmIndex.verify(path)
      assert [_kept] = File.ls!(Path.join(path, "quarantine"))
      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.empty?(index)
    end

    test "refuses other options, and places without an index", %{tmp_dir: dir} do
      assert {:error, %Error{reason: :invalid_option}} = LsmIndex.repair(dir, apply: 1)
      assert {:error, %Error{reason: :not_found}} = LsmIndex.repair(Path.join(dir, "nothing"))
      assert {:error, %Error{reason: :invalid_argument}} = LsmIndex.repair(:memory)
    end
  end
end
