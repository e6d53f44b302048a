defmodule LsmIndex.LockTest do
  # A directory is open once, by whatever name and in whatever VM.
  use LsmIndex.Case, async: true

  alias LsmIndex.ChildVM

  @moduletag :tmp_dir

  setup %{tmp_dir: dir} do
    %{path: Path.join(dir, "index"), lock: Path.join(dir, "index/LOCK")}
  end

  defp assert_locked(path, holder) do
    assert {:error, %Error{reason: :locked} = error} = LsmIndex.open(path)
    assert error.detail.holder == String.to_integer(holder)
    assert error.detail.path == Path.expand(path)
    assert error.message =~ "#{Path.expand(path)} is open elsewhere (by process #{holder})"
  end

  defp assert_opens(path) do
    assert {:ok, index} = LsmIndex.open(path)
    assert LsmIndex.get(index, "a") == [1]
    assert :ok = LsmIndex.close(index)
  end

  defp create(path) do
    {:ok, index} = LsmIndex.open(path, num_lanes: 1)
    :ok = LsmIndex.put(index, "a", 1)
    index
  end

  describe "a second opener in the same VM is refused" do
    setup %{path: path} do
      %{index: create(path)}
    end

    test "by the same path", %{path: path, index: index} do
      assert_locked(path, System.pid())
      # The refused one has taken nothing from the first.
      assert :ok = LsmIndex.put(index, "b", 2)
      assert_locked(path, System.pid())
      assert :ok = LsmIndex.close(index)
      assert_opens(path)
    end

    test "by other spellings of the path", %{tmp_dir: dir, path: path} do
      relative = Path.relative_to_cwd(path)
      refute Path.type(relative) == :absolute

      for spelling <- [
            relative,
            "./" <> relative,
            path <> "/",
            Path.join([dir, "x", "..", "index"]),
            Path.join([dir, ".", "index", "."])
          ] do
        assert_locked(spelling, System.pid())
      end
    end

    test "through a symlinked directory", %{tmp_dir: dir} do
      alias_dir = dir <> ".alias"
      File.rm(alias_dir)
      File.ln_s!(dir, alias_dir)
      on_exit(fn -> File.rm!(alias_dir) end)
      assert_locked(Path.join(alias_dir, "index"), System.pid())
    end

    test "through a symlink to the index", %{tmp_dir: dir, path: path, index: index} do
      link = Path.join(dir, "link")
      File.ln_s!(path, link)
      assert_locked(link, System.pid())
      :ok = LsmIndex.close(index)
      assert_opens(link)
    end

    test "even if nobody can read from the lock file who it was", %{path: path, lock: lock} do
      File.write!(lock, "somebody")
      assert {:error, %Error{reason: :locked} = error} = LsmIndex.open(path)
      assert error.detail.holder == nil
      assert error.message =~ "#{path} is open elsewhere"
    end
  end

  describe "a VM that holds the lock" do
    setup %{path: path} do
      :ok = path |> create() |> LsmIndex.close()
      child = ChildVM.start()
      {:ok, _owner} = ChildVM.call(child, LsmIndex, :start_link, [[name: :held, path: path]])
      %{child: child}
    end

    test "is named, until it closes the index", %{path: path, child: child} do
      refute child.os_pid == System.pid()
      assert_locked(path, child.os_pid)
      assert ChildVM.call(child, LsmIndex, :get, [:held, "a"]) == [1]
      assert :ok = ChildVM.call(child, LsmIndex, :close, [:held])
      assert_opens(path)
    end

    test "leaves it free at once when it is killed", %{path: path, lock: lock, child: child} do
      assert :ok = ChildVM.call(child, LsmIndex, :put, [:held, "b", 2])
      assert ChildVM.kill_and_wait(child) == 128 + 9
      assert File.read!(lock) == child.os_pid <> "\n"
      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.get_many(index, ["a", "b"]) == [[1], [2]]
      assert File.read!(lock) == System.pid() <> "\n"
      assert_locked(path, System.pid())
    end

    test "is refused itself what this one holds", %{path: path, child: child} do
      :ok = ChildVM.call(child, LsmIndex, :close, [:held])
      {:ok, _index} = LsmIndex.open(path)
      assert {:error, error} = ChildVM.call(child, LsmIndex, :open, [path])
      assert {error.reason, error.detail.holder} == {:locked, String.to_integer(System.pid())}
    end
  end

  test "what a lock file says blocks nobody", %{path: path, lock: lock} do
    :ok = path |> create() |> LsmIndex.close()
    # The last of them is alive, but holds nothing.
    texts = ["", "garbage", <<255, 0, 254>>, "4194305\n", "0", "-1", "1\n"]

    for text <- texts do
      File.write!(lock, text)
      assert_opens(path)
    end

    File.rm!(lock)
    assert_opens(path)
  end

  test "to verify an index takes no lock, and needs none", %{path: path, lock: lock} do
    index = create(path)
    :ok = LsmIndex.flush(index)
    assert {:ok, %{live_keys: 1}} = LsmIndex.verify(path)
    assert_locked(path, System.pid())
    :ok = LsmIndex.close(index)

    File.rm!(lock)
    assert {:ok, %{live_keys: 1}} = LsmIndex.verify(path)
    refute File.exists?(lock)
  end
end
