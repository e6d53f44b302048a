defmodule LsmIndex.DurabilityTest do
  # What changes survive. A crash is imitated by a copy of the directory, made while the index is
  # open: the copy has what the kernel had been given by then. `LsmIndex.KillTest` crashes for real.
  use LsmIndex.Case, async: true

  import ExUnit.CaptureLog

  @moduletag :tmp_dir
  @modes [:memory, :os, :sync]

  # A file of the log begins with a header; the record of one put without a term is 44 bytes long.
  @header 64
  @record 44

  setup %{tmp_dir: dir} do
    %{path: Path.join(dir, "index")}
  end

  # No lane is full in any of these tests, so nothing is flushed that a test does not flush.
  defp create(path, options \\ []) do
    {:ok, index} = LsmIndex.open(path, [num_lanes: 4] ++ options)
    index
  end

  defp crash(path) do
    copy = path <> ".#{System.unique_integer([:positive])}"
    File.cp_r!(path, copy)
    copy
  end

  defp after_crash(path, look) do
    {:ok, index} = path |> crash() |> LsmIndex.open()
    found = look.(index)
    :ok = LsmIndex.close(index)
    found
  end

  defp newest_log(path), do: path |> Path.join("wal/*.wal") |> Path.wildcard() |> Enum.max()

  defp append(file, bytes), do: File.write!(file, bytes, [:append])

  defp truncate(file, by) do
    bytes = File.read!(file)
    File.write!(file, binary_part(bytes, 0, byte_size(bytes) - by))
  end

  defp flip(file, at) do
    {before, <<byte, rest::binary>>} = file |> File.read!() |> split_binary(at)
    File.write!(file, [before, Bitwise.bxor(byte, 1), rest])
  end

  defp split_binary(bytes, at),
    do: {binary_part(bytes, 0, at), binary_part(bytes, at, byte_size(bytes) - at)}

  describe "durability: of a call" do
    test "is what the change survives, whatever the index's is", %{path: path} do
      for default <- @modes do
        path = "#{path}-#{default}"
        index = create(path, durability: default)

        for mode <- @modes do
          options = [durability: mode]
          assert :ok = LsmIndex.put(index, "put:#{mode}", 1, options)
          assert :ok = LsmIndex.put(index, "delete:#{mode}", 1, durability: :sync)
          assert :ok = LsmIndex.delete(index, "delete:#{mode}", 1, options)
          batch = for n <- 1..3, do: {:put, "batch:#{mode}:#{n}", n}
          assert :ok = LsmIndex.write(index, batch, options)
          # It shows at once in any case.
          assert LsmIndex.get_many(index, keys(mode)) == [[1], [], [1], [2], [3]]
        end

        assert :ok = LsmIndex.put(index, "default", 1)

        found =
          after_crash(path, fn copy ->
            for mode <- @modes, do: LsmIndex.get_many(copy, keys(mode))
          end)

        logged = [[1], [], [1], [2], [3]]
        assert found == [[[], [1], [], [], []], logged, logged]
        survives = if default == :memory, do: [], else: [1]
        assert after_crash(path, &LsmIndex.get(&1, "default")) == survives
      end
    end

    defp keys(mode),
      do: ["put:#{mode}", "delete:#{mode}" | for(n <- 1..3, do: "batch:#{mode}:#{n}")]

    test "works with a name, and with none given the index's counts", %{path: path} do
      name = :"#{__MODULE__}.Named"
      start_supervised!({LsmIndex, name: name, path: path, num_lanes: 1, durability: :memory})
      assert :ok = LsmIndex.put(name, "a", 1, [])
      assert :ok = LsmIndex.put(name, "b", 1, durability: :os)
      assert :ok = LsmIndex.put(name, "c", 1, durability: :os)
      assert :ok = LsmIndex.delete(name, "c", 1, durability: :sync)
      assert :ok = LsmIndex.write(name, [{:put, "d", 1}], durability: :sync)
      look = &LsmIndex.get_many(&1, ["a", "b", "c", "d"])
      assert after_crash(path, look) == [[], [1], [], [1]]
      assert look.(name) == [[1], [1], [], [1]]
    end

    test "tells what goes into the log", %{path: path} do
      index = create(path)
      log_bytes = fn -> LsmIndex.stats(index).log_bytes end
      # The first change begins a file.
      :ok = LsmIndex.put(index, "first", 1)

      grown =
        for mode <- @modes do
          before = log_bytes.()
          :ok = LsmIndex.put(index, "a:#{mode}", 1, durability: mode)
          log_bytes.() - before
        end

      assert [0, @record, synced] = grown
      # The log says so of itself when it was synced.
      assert synced > @record
    end

    test "is named when it is wrong, and nothing is changed", %{path: path} do
      for index <- [create(path), memory_index()] do
        for {options, message} <- [
              {[durability: :disk], "option :durability must be one of :memory, :os, :sync"},
              {[durability: nil], "option :durability must be"},
              {[durability: "os"], "option :durability must be"}
            ] do
          for {:error, error} <- all_changes(index, options) do
            assert %Error{reason: :invalid_option} = error
            assert error.detail == %{option: :durability, value: options[:durability]}
            assert error.message =~ message
            assert error.message =~ inspect(options[:durability])
          end
        end

        for {:error, error} <- all_changes(index, durability: :os, sync: true) do
          assert %Error{reason: :invalid_option, detail: %{option: :sync}} = error
          assert error.message =~ ":sync"
          assert error.message =~ ":durability"
        end

        for options <- [:os, [:durability], %{durability: :os}, nil],
            {:error, error} <- all_changes(index, options) do
          assert error.reason == :invalid_option
          assert error.message =~ inspect(options)
        end

        assert LsmIndex.empty?(index)
        assert LsmIndex.stats(index).log_bytes <= @header
      end
    end

    defp all_changes(index, options) do
      results = [
        LsmIndex.put(index, "a", 1, options),
        LsmIndex.delete(index, "a", 1, options),
        LsmIndex.write(index, [{:put, "a", 1}], options)
      ]

      assert Enum.all?(results, &match?({:error, _}, &1)), inspect(options)
      results
    end

    test "does nothing to an index in memory" do
      for default <- @modes do
        index = memory_index(durability: default)

        for mode <- @modes do
          assert :ok = LsmIndex.put(index, "a:#{mode}", 1, durability: mode)
          assert :ok = LsmIndex.put(index, "a:#{mode}", 2, durability: mode)
          assert :ok = LsmIndex.delete(index, "a:#{mode}", 1, durability: mode)
          assert :ok = LsmIndex.write(index, [{:put, "b:#{mode}", 3}], durability: mode)
          assert LsmIndex.get_many(index, ["a:#{mode}", "b:#{mode}"]) == [[2], [3]]
        end

        assert :ok = LsmIndex.sync(index)

        assert %{log_bytes: 0, recovery: %{batches: 0, torn: nil, dropped: []}} =
                 LsmIndex.stats(index)
      end
    end

    test "an index that is gone is an error and no crash", %{path: path} do
      index = create(path)
      :ok = LsmIndex.close(index)

      for mode <- @modes,
          {:error, error} <- all_changes(index, durability: mode),
          do: assert(error.reason == :closed)

      for {:error, error} <- all_changes(:no_such_index, durability: :os),
          do: assert(error.reason == :not_found)
    end
  end

  # The directory is gone, so that it cannot be synced.
  test "a failed sync refuses writes, and says so once", %{path: path} do
    log =
      capture_log(fn ->
        {:ok, index} = LsmIndex.open(path)
        :ok = LsmIndex.put(index, "a", 1)
        assert LsmIndex.stats(index).poisoned == nil
        File.rm_rf!(path)
        assert {:error, %Error{reason: :io}} = LsmIndex.sync(index)

        for _ <- 1..3,
            do: assert({:error, %Error{reason: :poisoned}} = LsmIndex.put(index, "b", 1))

        assert LsmIndex.stats(index).poisoned =~ path
        assert LsmIndex.get(index, "a") == [1]
        # The compactor reports it, when it comes to that.
        {:links, linked} = Process.info(index.owner, :links)
        for process <- linked, is_pid(process), process != self(), do: :sys.get_state(process)
        assert {:error, %Error{reason: :poisoned}} = LsmIndex.close(index)
      end)

    assert [_once] = Regex.scan(~r/writes are refused until the index is reopened/, log)
  end

  describe "an index whose processes are all killed at once" do
    test "has everything when it is opened again", %{path: path} do
      parent = self()

      {client, monitor} =
        spawn_monitor(fn ->
          index = create(path)
          for n <- 1..200, do: :ok = LsmIndex.put(index, "key:#{n}", n)
          :ok = LsmIndex.put(index, "key:1", 1, durability: :memory)
          send(parent, {:processes, index.owner, compactor_of(index)})
          receive do: (:end -> index)
        end)

      assert_receive {:processes, owner, compactor}, 30_000

      capture_log(fn ->
        # Suspended, it does not notice that its compactor dies.
        :sys.suspend(owner)
        for process <- [compactor, owner], do: Process.exit(process, :kill)
        for process <- [compactor, owner], do: await_end(process)
      end)

      # Nobody has closed it, so it is locked.
      assert {:error, %Error{reason: :locked}} = LsmIndex.open(path)
      look = &{LsmIndex.count(&1), LsmIndex.ids(&1)}
      everything = {200, Enum.to_list(1..200)}
      assert after_crash(path, look) == everything

      # The last reference goes with the process that opened it.
      send(client, :end)
      assert_receive {:DOWN, ^monitor, :process, ^client, _reason}
      eventually(fn -> match?({:ok, _index}, open_and_keep(path)) end)
      index = Process.get(:kept)
      assert look.(index) == everything
    end

    defp open_and_keep(path) do
      with {:ok, index} <- LsmIndex.open(path) do
        Process.put(:kept, index)
        {:ok, index}
      end
    end
  end

  describe "durability: :memory" do
    test "loses at most what was not flushed", %{path: path} do
      index = create(path, durability: :memory)
      pairs = fn kind -> for n <- 1..300, do: {"#{kind}:#{n}", n} end
      for {key, id} <- pairs.(:flushed), do: :ok = LsmIndex.put(index, key, id)
      assert LsmIndex.stats(index).total_overlay_entries == 300
      :ok = LsmIndex.flush(index)
      for {key, id} <- pairs.(:not), do: :ok = LsmIndex.put(index, key, id)
      :ok = LsmIndex.delete(index, "flushed:1", 1)
      assert LsmIndex.stats(index).log_bytes == @header

      after_crash(path, fn copy ->
        for {key, id} <- pairs.(:flushed), do: assert(LsmIndex.get(copy, key) == [id])
        assert LsmIndex.count(copy) == 300
        assert %{batches: 0, changes: 0, torn: nil, dropped: []} = LsmIndex.stats(copy).recovery
      end)

      # What ends well loses nothing.
      :ok = LsmIndex.close(index)
      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.count(index) == 599
    end

    test "sync/1 makes up for it", %{path: path} do
      index = create(path, durability: :memory)
      for n <- 1..100, do: :ok = LsmIndex.put(index, "key:#{n}", n)
      :ok = LsmIndex.put(index, "other", 1, durability: :os)
      :ok = LsmIndex.delete(index, "key:7", 7)
      assert after_crash(path, &LsmIndex.ids/1) == [1]
      assert :ok = LsmIndex.sync(index)
      :ok = LsmIndex.put(index, "later", 1)

      after_crash(path, fn copy ->
        assert LsmIndex.ids(copy) == Enum.to_list(1..100) -- [7]
        assert LsmIndex.count(copy) == 100
        assert LsmIndex.get_many(copy, ["key:7", "other", "later"]) == [[], [1], []]
      end)
    end

    test "a change that lasts makes one last that was made before without", %{path: path} do
      index = create(path)
      :ok = LsmIndex.put(index, "a", 1, durability: :memory)
      # It changes nothing, and has to be there all the same.
      :ok = LsmIndex.put(index, "a", 1, durability: :os)
      :ok = LsmIndex.put(index, "b", 1, durability: :memory)
      :ok = LsmIndex.write(index, [{:put, "b", 1}, {:delete, "c", 1}], durability: :sync)
      assert after_crash(path, &LsmIndex.get_many(&1, ["a", "b"])) == [[1], [1]]
    end
  end

  describe "recovery" do
    test "is told by stats/1", %{path: path} do
      index = create(path)
      assert %{recovery: %{batches: 0, changes: 0}, log_bytes: @header} = LsmIndex.stats(index)
      for n <- 1..10, do: :ok = LsmIndex.put(index, "a", n)
      :ok = LsmIndex.write(index, for(n <- 1..5, do: {:put, "b:#{n}", n}))
      log_bytes = LsmIndex.stats(index).log_bytes
      assert log_bytes > 11 * @record

      copy = crash(path)
      assert {:ok, %{batches: 11, torn: nil, live_keys: 0}} = LsmIndex.verify(copy)
      {:ok, copied} = LsmIndex.open(copy)
      assert %{recovery: recovery} = LsmIndex.stats(copied)
      assert %{batches: 11, changes: 15, torn: nil, dropped: []} = recovery
      assert %{log_bytes: ^log_bytes, log_files: 2} = recovery
      assert is_integer(recovery.micros)

      # Only what no segment has is recovered, and a clean end leaves nothing.
      :ok = LsmIndex.flush(copied)
      :ok = LsmIndex.put(copied, "c", 1)
      after_crash(copy, &assert(%{batches: 1, changes: 1} = LsmIndex.stats(&1).recovery))
      :ok = LsmIndex.close(copied)
      {:ok, copied} = LsmIndex.open(copy)
      assert %{batches: 0, changes: 0, log_files: 1} = LsmIndex.stats(copied).recovery
      assert LsmIndex.stats(copied).log_bytes == @header
      assert LsmIndex.count(copied) == 7
    end

    test "keeps a batch whole", %{path: path} do
      index = create(path)
      batch = for n <- 1..1_000, do: {:put, "key:#{n}", n}
      :ok = LsmIndex.put(index, "before", 1)
      :ok = LsmIndex.write(index, batch)
      assert after_crash(path, &LsmIndex.count/1) == 1_001

      copy = crash(path)
      truncate(newest_log(copy), 1)
      capture_log(fn -> assert after_crash(copy, &LsmIndex.count/1) == 1 end)
    end

    test "cuts off an append that was cut short, and says so", %{path: path} do
      index = create(path)
      for n <- 1..10, do: :ok = LsmIndex.put(index, "a", n)
      newest = fn copy -> newest_log(copy) end

      # The file, what happens to it, what is lost of it, and the ids left.
      for {damage, cut, left} <- [
            {&append(&1, "garbage"), {@header + 10 * @record, 7}, 10},
            {&truncate(&1, 1), {@header + 9 * @record, @record - 1}, 9},
            {&truncate(&1, @record - 1), {@header + 9 * @record, 1}, 9}
          ] do
        copy = crash(path)
        file = newest.(copy)
        damage.(file)
        {offset, bytes} = cut
        lost = %{path: file, offset: offset, bytes: bytes}
        assert {:ok, %{torn: ^lost, batches: ^left}} = LsmIndex.verify(copy)

        {opened, log} = with_log(fn -> LsmIndex.open(copy) end)
        assert {:ok, copied} = opened
        assert log =~ "[warn"
        assert log =~ "torn"
        assert log =~ "#{bytes} bytes from byte #{offset} of #{file}"
        assert %{torn: ^lost, batches: ^left} = LsmIndex.stats(copied).recovery
        assert LsmIndex.get(copied, "a") == Enum.to_list(1..left)

        # It is cut off for good, and the log goes on.
        :ok = LsmIndex.put(copied, "a", 11)
        again = crash(copy)
        assert {:ok, %{torn: nil}} = LsmIndex.verify(again)
        log = capture_log(fn -> assert {:ok, _} = LsmIndex.open(again) end)
        refute log =~ again
      end
    end

    test "refuses what no crash leaves, and says where", %{path: path} do
      index = create(path)
      for n <- 1..10, do: :ok = LsmIndex.put(index, "a", n)

      for {damage, offset} <- [
            {&append(&1, String.duplicate("garbage", 10)), @header + 10 * @record},
            {&flip(&1, @header + 3 * @record + 40), @header + 3 * @record},
            {&flip(&1, @header + 9 * @record), @header + 9 * @record},
            {&flip(&1, 9), 8}
          ] do
        copy = crash(path)
        file = newest_log(copy)
        damage.(file)

        for {:error, error} <- [LsmIndex.open(copy), LsmIndex.verify(copy)] do
          if offset == 8 do
            assert %Error{reason: :unsupported_version, detail: %{path: ^file}} = error
          else
            assert %Error{reason: :corrupt} = error
            assert %{path: ^file, offset: ^offset} = error.detail
            assert error.message =~ "#{file} is damaged at byte #{offset}"
          end
        end

        # It was not made worse: without the damage all is there.
        File.cp!(newest_log(path), file)
        assert after_crash(copy, &LsmIndex.get(&1, "a")) == Enum.to_list(1..10)
      end
    end

    test "misses a file of the log", %{path: path} do
      index = create(path, max_log_bytes: 1_048_576)
      # A file takes an eighth of the log.
      batch = for n <- 1..800, do: {:put, "key:#{rem(n, 20)}", n}
      for _ <- 1..45, do: :ok = LsmIndex.write(index, invert(index, batch))
      [_empty, _first, second | _] = logs = path |> Path.join("wal/*.wal") |> Path.wildcard()
      assert length(logs) > 3

      copy = crash(path)
      missing = Path.join([copy, "wal", Path.basename(second)])
      File.rm!(missing)
      assert {:error, %Error{reason: :corrupt} = error} = LsmIndex.open(copy)
      assert error.detail.path == missing
    end

    # Puts what is not there, and the other way round, so that every batch has something to log.
    defp invert(index, batch) do
      for {:put, key, id} <- batch do
        if LsmIndex.member?(index, key, id), do: {:delete, key, id}, else: {:put, key, id}
      end
    end
  end

  describe "recover: :salvage" do
    setup %{path: path} do
      index = create(path)
      for n <- 1..10, do: :ok = LsmIndex.put(index, "a", n)
      damaged = crash(path)
      file = newest_log(damaged)
      flip(file, @header + 3 * @record + 40)
      %{damaged: damaged, log: file}
    end

    test "leaves out what cannot be read, and keeps it", %{damaged: damaged, log: file} do
      assert {:error, %Error{reason: :corrupt}} = LsmIndex.open(damaged)
      bytes = File.read!(file)
      lost = %{path: file, offset: @header + 3 * @record, bytes: @record}

      {opened, log} = with_log(fn -> LsmIndex.open(damaged, recover: :salvage) end)
      assert {:ok, index} = opened
      assert log =~ "[error]"
      assert log =~ "left out"
      assert log =~ "#{lost.bytes} bytes from byte #{lost.offset} of #{file}"
      assert %{dropped: [^lost], torn: nil, batches: 9} = LsmIndex.stats(index).recovery
      assert LsmIndex.get(index, "a") == Enum.to_list(1..10) -- [4]

      quarantined = Path.join([damaged, "quarantine", "wal--" <> Path.basename(file)])
      assert File.read!(quarantined) == bytes
      refute File.exists?(file)

      # The index is sound from then on, also if that VM crashes at once.
      after_crash(damaged, fn copy ->
        assert LsmIndex.get(copy, "a") == Enum.to_list(1..10) -- [4]
        assert LsmIndex.stats(copy).recovery.dropped == []
      end)

      :ok = LsmIndex.put(index, "a", 4)
      :ok = LsmIndex.close(index)
      assert {:ok, %{live_keys: 1, torn: nil}} = LsmIndex.verify(damaged)
      log = capture_log(fn -> assert {:ok, _index} = LsmIndex.open(damaged) end)
      refute log =~ damaged
    end

    test "of another file with the same name loses none", %{damaged: damaged, log: file} do
      capture_log(fn ->
        kept = Path.join([damaged, "quarantine", "wal--" <> Path.basename(file)])
        File.mkdir_p!(Path.dirname(kept))
        File.write!(kept, "of an earlier salvage")
        bytes = File.read!(file)
        {:ok, _index} = LsmIndex.open(damaged, recover: :salvage)
        assert File.read!(kept) == "of an earlier salvage"
        assert File.read!(kept <> ".1") == bytes
      end)
    end

    test "is as strict where nothing is damaged", %{path: path} do
      copy = crash(path)

      log =
        capture_log(fn ->
          {:ok, index} = LsmIndex.open(copy, recover: :salvage)
          assert %{dropped: [], torn: nil, batches: 10} = LsmIndex.stats(index).recovery
          assert LsmIndex.get(index, "a") == Enum.to_list(1..10)
        end)

      refute log =~ copy
      refute File.exists?(Path.join(copy, "quarantine"))
    end
  end
end
