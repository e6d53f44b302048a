defmodule LsmIndex.DurabilityTest do
  # What changes survive.
  use LsmIndex.Case, async: true

  import ExUnit.CaptureLog
  import LsmIndex.Crash

  @moduletag :tmp_dir
  @modes [:memory, :os, :sync]

  # A file of the log begins with a header; the record of one put without a term is 44 bytes long.
  @header 64
  @record 44

  setup %{tmp_dir: dir} do
    %{path: Path.join(dir, "index")}
  end

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
end
