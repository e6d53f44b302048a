defmodule LsmIndex.OwnerTest do
  use LsmIndex.Case, async: true

  import ExUnit.CaptureLog

  @moduletag :tmp_dir

  setup %{tmp_dir: dir} do
    %{path: Path.join(dir, "index")}
  end

  describe "open/2 with a path" do
    test "creates the directory and finds everything again", %{path: path} do
      {:ok, index} = LsmIndex.open(path, num_lanes: 4)
      :ok = LsmIndex.put(index, "a", 1)
      {:ok, 1_000} = LsmIndex.load(index, for(n <- 1..1_000, do: {"key:#{n}", n}))
      :ok = LsmIndex.delete(index, "key:7", 7)
      :ok = LsmIndex.close(index)

      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.count(index) == 1_000
      assert LsmIndex.get_many(index, ["a", "key:7", "key:8"]) == [[1], [], [8]]
    end

    test "keeps the stored number of lanes and refuses another", %{path: path} do
      {:ok, index} = LsmIndex.open(path, num_lanes: 4)
      :ok = LsmIndex.close(index)

      {:ok, index} = LsmIndex.open(path)
      assert inspect(index) =~ "lanes: 4"
      assert LsmIndex.stats(index).num_lanes == 4
      :ok = LsmIndex.close(index)

      assert {:error, %Error{reason: :mismatch} = error} = LsmIndex.open(path, num_lanes: 8)
      assert error.message =~ "4"
      assert error.message =~ "8"
      assert {:ok, _index} = LsmIndex.open(path, num_lanes: 4)
    end

    test "keeps the stored hash key and refuses another", %{path: path} do
      {:ok, index} = LsmIndex.open(path, hash_key: "0123456789abcdef")
      :ok = LsmIndex.put(index, "a", 1)
      :ok = LsmIndex.close(index)

      assert {:error, %Error{reason: :mismatch} = error} =
               LsmIndex.open(path, hash_key: "fedcba9876543210")

      refute inspect(error) =~ "0123456789abcdef"
      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.get(index, "a") == [1]
    end

    test "refuses a directory that is open, wherever it is open", %{path: path} do
      {:ok, index} = LsmIndex.open(path)
      assert {:error, %Error{reason: :locked} = error} = LsmIndex.open(path)
      assert error.message =~ path
      open = fn -> LsmIndex.open(path) end
      assert {:error, %Error{reason: :locked}} = in_other_process(open)

      assert :ok = LsmIndex.put(index, "a", 1)
      :ok = LsmIndex.close(index)
      assert {:ok, _index} = LsmIndex.open(path)
    end

    test "of many who open at once, one succeeds", %{path: path} do
      parent = self()

      tasks =
        for _ <- 1..10 do
          Task.async(fn ->
            result = LsmIndex.open(path)
            send(parent, {:result, result})
            receive do: (:end -> :ok)
          end)
        end

      results = for _ <- tasks, do: receive(do: ({:result, result} -> result))
      assert {[{:ok, index}], refused} = Enum.split_with(results, &match?({:ok, _}, &1))
      assert length(refused) == 9
      assert Enum.all?(refused, &match?({:error, %Error{reason: :locked}}, &1))
      assert LsmIndex.empty?(index)
      Enum.each(tasks, &send(&1.pid, :end))
    end

    test "says what is wrong with a path that cannot be a directory", %{path: path} do
      File.write!(path, "a file")
      assert {:error, %Error{reason: :io} = error} = LsmIndex.open(path)
      assert error.message =~ path
      assert {:error, %Error{reason: :io}} = LsmIndex.open(Path.join(path, "below"))
    end

    test "refuses a damaged index and names the file", %{path: path} do
      {:ok, index} = LsmIndex.open(path, num_lanes: 1)
      :ok = LsmIndex.put(index, "a", 1)
      :ok = LsmIndex.close(index)

      for name <- ["CURRENT", "META", "MANIFEST"] do
        [file] = Path.wildcard(Path.join(path, "**/#{name}"))
        bytes = File.read!(file)

        for damaged <- ["", "garbage", binary_part(bytes, 0, byte_size(bytes) - 1)] do
          File.write!(file, damaged)
          assert {:error, %Error{} = error} = LsmIndex.open(path), "#{name}: #{damaged}"
          assert error.reason in [:corrupt, :unsupported_version]
          assert error.message =~ name
        end

        File.write!(file, bytes)
      end

      assert {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.get(index, "a") == [1]
    end

    test "leaves no process behind when it fails", %{path: path} do
      File.write!(path, "a file")
      {:error, _error} = LsmIndex.open(path)
      # An owner would watch this process.
      eventually(fn -> owners_watching(self()) == [] end)
    end

    defp owners_watching(client) do
      {:monitored_by, watching} = Process.info(client, :monitored_by)
      for {_id, owner, _type, _modules} <- owners(), owner in watching, do: owner
    end

    defp owners, do: DynamicSupervisor.which_children(LsmIndex.Owners)
  end

  describe "close/1" do
    test "ends owner and compactor, from any process, any number of times", %{path: path} do
      {:ok, index} = LsmIndex.open(path)
      compactor = compactor_of(index)
      assert :ok = in_other_process(fn -> LsmIndex.close(index) end)
      refute Process.alive?(index.owner)
      await_end(compactor)
      assert :ok = LsmIndex.close(index)
      assert {:ok, _index} = LsmIndex.open(path)
      assert :ok = LsmIndex.close(index)
    end

    test "may be called by many at once, while others read and write", %{path: path} do
      {:ok, index} = LsmIndex.open(path)
      {:ok, _count} = LsmIndex.load(index, for(n <- 1..1_000, do: {"key:#{n}", n}))

      users =
        for n <- 1..4 do
          Task.async(fn -> use_until_closed(index, n) end)
        end

      closers = for _ <- 1..4, do: Task.async(fn -> LsmIndex.close(index) end)
      assert Task.await_many(closers, 30_000) == [:ok, :ok, :ok, :ok]
      assert Task.await_many(users, 30_000) == [:closed, :closed, :closed, :closed]
    end
  end

  defp use_until_closed(index, n) do
    [^n] = LsmIndex.get(index, "key:#{n}")

    case LsmIndex.put(index, "other:#{n}", n) do
      :ok -> use_until_closed(index, n)
      {:error, %Error{reason: reason}} -> reason
    end
  rescue
    error in Error -> error.reason
  end

  describe "the end of the process that opened it" do
    test "closes the index, and what was written is there", %{path: path} do
      for {reason, n} <- Enum.with_index([:normal, :shutdown, :kill, :crash]) do
        parent = self()

        {client, monitor} =
          spawn_monitor(fn ->
            {:ok, index} = LsmIndex.open(path)
            :ok = LsmIndex.put(index, "a", n)
            send(parent, {:index, index})
            receive do: (:end -> :ok)
          end)

        assert_receive {:index, index}, 30_000
        if reason == :normal, do: send(client, :end), else: Process.exit(client, reason)
        assert_receive {:DOWN, ^monitor, :process, ^client, _reason}
        await_end(index.owner)
        assert_raise Error, fn -> LsmIndex.get(index, "a") end
      end

      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.get(index, "a") == [0, 1, 2, 3]
    end
  end

  describe "an owner that is killed" do
    test "leaves the closing to its compactor", %{path: path} do
      {:ok, index} = LsmIndex.open(path)
      :ok = LsmIndex.put(index, "a", 1)
      compactor = compactor_of(index)

      log =
        capture_log(fn ->
          Process.exit(index.owner, :kill)
          await_end(compactor)
        end)

      assert log =~ "killed"
      assert_raise Error, fn -> LsmIndex.get(index, "a") end
      assert :ok = LsmIndex.close(index)
      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.get(index, "a") == [1]
    end
  end

  describe "a compactor that ends" do
    # A lane is flushed at 100 keys, and a writer who finds 200 more does it himself.
    @options [num_lanes: 1, compaction_threshold: 100]

    test "has a successor, who does the work left and the work to come", %{path: path} do
      {:ok, index} = LsmIndex.open(path, @options)

      for {way, round} <- [kill: 0, crash: 1] do
        compactor = compactor_of(index)
        suspend(compactor)
        fill(index, round, 1..100)
        assert %{lanes_to_flush: 1} = LsmIndex.stats(index)

        capture_log(fn ->
          if way == :kill, do: Process.exit(compactor, :kill), else: crash(compactor)
          await_end(compactor)
          eventually(fn -> compactor_of(index) != compactor end)
          flushed_by_compactor(index, 2 * round + 1)
        end)

        fill(index, round, 101..200)
        flushed_by_compactor(index, 2 * round + 2)
      end

      assert LsmIndex.count(index) == 400
      assert :ok = LsmIndex.close(index)
      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.count(index) == 400
    end
  end

  defp crash(compactor) do
    send(compactor, {:lsm_index_work, :no_index})
    :sys.resume(compactor)
  end

  defp fill(index, round, range) do
    for n <- range, do: :ok = LsmIndex.put(index, "key:#{round}:#{n}", n)
  end

  defp flushed_by_compactor(index, flushes) do
    eventually(fn -> LsmIndex.stats(index).flushes == flushes end)
    assert %{lanes_to_flush: 0, stalls: 0} = LsmIndex.stats(index)
  end

  describe "start_link/1 and child_spec/1" do
    test "start an index under a name that every function takes", %{path: path} do
      name = :"#{__MODULE__}.Everything"
      start_supervised!({LsmIndex, name: name, path: path, num_lanes: 2})

      assert :ok = LsmIndex.put(name, "a", 1)
      assert :ok = LsmIndex.write(name, [{:put, "a", 2}, {:put, "b", 3}])
      assert :ok = LsmIndex.delete(name, "a", 2)
      assert {:ok, 1} = LsmIndex.load(name, [{"c", 4}])
      assert LsmIndex.get(name, "a") == [1]
      assert LsmIndex.get_many(name, ["b", "c"]) == [[3], [4]]
      assert LsmIndex.member?(name, "a", 1)
      assert LsmIndex.ids(name) == [1, 3, 4]
      refute LsmIndex.empty?(name)
      assert LsmIndex.count(name) == 3
      assert :ok = LsmIndex.flush(name)
      assert :ok = LsmIndex.compact(name)
      assert :ok = LsmIndex.sync(name)
      assert LsmIndex.stats(name).num_lanes == 2
      assert LsmIndex.memory(name).total > 0

      assert :ok = stop_supervised(name)
      assert {:error, %Error{reason: :not_found}} = LsmIndex.put(name, "a", 1)
      assert {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.count(index) == 3
    end

    test "an index in memory can be supervised too" do
      name = :"#{__MODULE__}.Memory"
      start_supervised!({LsmIndex, name: name, path: :memory})
      assert :ok = LsmIndex.put(name, "a", 1)
      assert LsmIndex.get(name, "a") == [1]
    end

    test "the default name is the module's" do
      assert %{id: LsmIndex} = LsmIndex.child_spec(path: :memory)
      start_supervised!({LsmIndex, path: :memory})
      assert :ok = LsmIndex.put(LsmIndex, "a", 1)
      assert LsmIndex.get(LsmIndex, "a") == [1]
    end

    test "a name can be used once", %{path: path} do
      name = :"#{__MODULE__}.Once"
      owner = start_supervised!({LsmIndex, name: name, path: path})
      other = [name: name, path: path <> "2"]
      assert {:error, {:already_started, ^owner}} = LsmIndex.start_link(other)
    end

    test "wrong options and a locked directory are errors, not crashes", %{path: path} do
      assert {:error, %Error{reason: :invalid_option}} = LsmIndex.start_link(path: path, lanes: 1)
      {:ok, _index} = LsmIndex.open(path)
      Process.flag(:trap_exit, true)
      name = :"#{__MODULE__}.Locked"

      capture_log(fn ->
        assert {:error, %Error{reason: :locked}} = LsmIndex.start_link(name: name, path: path)
      end)
    end

    test "close/1 of a name writes everything out and frees the name", %{path: path} do
      name = :"#{__MODULE__}.Closed"
      {:ok, owner} = LsmIndex.start_link(name: name, path: path)
      :ok = LsmIndex.put(name, "a", 1)
      assert :ok = LsmIndex.close(name)
      refute Process.alive?(owner)
      {:ok, _owner} = LsmIndex.start_link(name: name, path: path)
      assert LsmIndex.get(name, "a") == [1]
      assert :ok = LsmIndex.close(name)
    end

    test "one that was closed is not started again", %{path: path} do
      name = :"#{__MODULE__}.Finished"
      supervisor = start_supervised!({DynamicSupervisor, strategy: :one_for_one})
      index = {LsmIndex, name: name, path: path}
      {:ok, _owner} = DynamicSupervisor.start_child(supervisor, index)
      :ok = LsmIndex.put(name, "a", 1)
      assert :ok = LsmIndex.close(name)
      eventually(fn -> DynamicSupervisor.which_children(supervisor) == [] end)
      assert_raise Error, fn -> LsmIndex.get(name, "a") end
    end

    test "a killed one is started again with all its data", %{path: path} do
      name = :"#{__MODULE__}.Killed"
      owner = start_supervised!({LsmIndex, name: name, path: path})
      :ok = LsmIndex.put(name, "a", 1)
      compactor = compactor_of(LsmIndex.Names.fetch!(name))

      capture_log(fn ->
        Process.exit(owner, :kill)
        await_end(compactor)
        eventually(fn -> Process.whereis(name) not in [nil, owner] end)
        # Once the new owner answers it has opened the index.
        :sys.get_state(name)
      end)

      assert LsmIndex.get(name, "a") == [1]
    end
  end
end
