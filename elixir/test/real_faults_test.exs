defmodule LsmIndex.RealFaultsTest do
  # A real disk that is full, one that may not be written to, and a system that gives no more files;
  # all of it happens to a VM of its own, with mounts that are gone when it ends.
  use LsmIndex.Case, async: true

  alias LsmIndex.ChildVM

  @moduletag :tmp_dir

  # Not every machine lets its tests mount.
  @mounts (case System.find_executable("unshare") do
             nil ->
               {:no, "there is no `unshare`"}

             unshare ->
               script = "mount -t tmpfs -o size=1m none /mnt && mount --bind /mnt /mnt"

               case System.cmd(unshare, ["--mount", "sh", "-c", script], stderr_to_stdout: true) do
                 {_output, 0} -> :yes
                 {output, _status} -> {:no, "it lets nobody mount: #{String.trim(output)}"}
               end
           end)

  with {:no, why} <- @mounts do
    IO.puts(:stderr, "no tests of a full and of a read-only disk on this machine: #{why}")
    @mount_tag [skip: why]
  else
    :yes -> @mount_tag [mounts: true]
  end

  setup %{tmp_dir: dir} do
    %{path: Path.join(dir, "index")}
  end

  # A VM that sees its own mounts, made by the script.
  defp start_with_mounts(script) do
    child =
      ChildVM.start(
        through: """
        script='#{script} && exec "$@"'
        exec unshare --mount sh -c "$script" sh "$@"
        """
      )

    silence(child)
    child
  end

  # The failures are wanted, and the log would go to the terminal.
  defp silence(child), do: :ok = call(child, :logger, :set_primary_config, [:level, :none])

  defp call(child, module \\ LsmIndex, function, arguments),
    do: ChildVM.call(child, module, function, arguments)

  @options [num_lanes: 4, compaction_threshold: 100, max_log_bytes: 262_144]

  defp start_index(child, path, options \\ []) do
    assert {:ok, _owner} = call(child, :start_link, [[name: :faulty, path: path] ++ options])
  end

  # Batches of three keys, each all or nothing. Gives the numbers of those that were acknowledged,
  # and the errors.
  defp write_batches(child, range) do
    for n <- range, reduce: {[], []} do
      {made, errors} ->
        case call(child, :write, [:faulty, for(m <- 1..3, do: {:put, "#{m}:#{n}", n})]) do
          :ok -> {[n | made], errors}
          {:error, error} -> {made, [error | errors]}
        end
    end
  end

  # All of the batches are there, and of the others nothing.
  defp assert_holds(child, made, range) do
    for m <- 1..3 do
      expected = for n <- range, do: if(n in made, do: [n], else: [])
      assert call(child, :get_many, [:faulty, for(n <- range, do: "#{m}:#{n}")]) == expected
    end

    assert call(child, :count, [:faulty]) == 3 * Enum.count(made)
  end

  describe "a disk that is full" do
    @describetag @mount_tag

    for durability <- [:os, :sync], ending <- [:goes_on, :closed, :crashed] do
      test "refuses changes and loses none, #{durability}, #{ending}", %{tmp_dir: dir} do
        durability = unquote(durability)
        child = start_with_mounts(~s(mount -t tmpfs -o size=2m none "#{dir}"))
        path = Path.join(dir, "index")
        start_index(child, path, [durability: durability] ++ @options)
        {before, []} = write_batches(child, 1..300)

        filler = Path.join(dir, "filler")
        # It takes what there is.
        assert {:error, :enospc} = fill(child, filler)
        {made, [_ | _] = errors} = write_batches(child, 301..1_500)

        for error <- errors do
          assert %Error{reason: :io, detail: %{path: file}} = error
          assert String.starts_with?(file, path)
        end

        # Reads go on.
        made = MapSet.new(before ++ made)
        assert_holds(child, made, 1..1_500)
        assert {:error, %Error{reason: :io}} = call(child, :compact, [:faulty])
        assert_holds(child, made, 1..1_500)
        after_the_shortage(unquote(ending), child, path, filler, made)
      end
    end

    defp fill(child, file) do
      with :ok <- call(child, File, :write, [file, :binary.copy("x", 100_000), [:append]]),
           do: fill(child, file)
    end

    # Without being opened again it takes changes once there is space.
    defp after_the_shortage(:goes_on, child, path, filler, made) do
      :ok = call(child, File, :rm, [filler])
      {later, []} = write_batches(child, 2_001..2_300)
      made = MapSet.union(made, MapSet.new(later))
      assert_holds(child, made, 1..2_300)
      assert :ok = call(child, :close, [:faulty])
      reopened_holds(child, path, made)
    end

    # What cannot be written out stays in the log, and to open the index takes no space.
    defp after_the_shortage(:closed, child, path, filler, made) do
      assert {:error, %Error{reason: :io}} = call(child, :close, [:faulty])
      start_index(child, path)
      assert_holds(child, made, 1..1_500)
      assert {:error, %Error{reason: :io}} = call(child, :close, [:faulty])
      :ok = call(child, File, :rm, [filler])
      reopened_holds(child, path, made)
    end

    # The mount would be gone with this VM, so a crash is imitated.
    defp after_the_shortage(:crashed, child, path, filler, made) do
      copy = path <> ".copy"
      :ok = call(child, File, :rm, [filler])
      {:ok, _files} = call(child, File, :cp_r, [path, copy])
      assert :ok = call(child, :close, [:faulty])
      reopened_holds(child, copy, made)
    end

    defp reopened_holds(child, path, made) do
      assert {:ok, _report} = call(child, :verify, [path])
      start_index(child, path)
      assert_holds(child, made, 1..2_300)
      assert :ok = call(child, :close, [:faulty])
      assert {:ok, report} = call(child, :verify, [path])
      assert report.live_keys == 3 * MapSet.size(made)
      assert report.leftovers == []
      ChildVM.stop(child)
    end
  end

  describe "a disk that may not be written to" do
    @describetag @mount_tag

    test "holds an index that can be verified, but not opened", %{tmp_dir: dir, path: path} do
      {:ok, index} = LsmIndex.open(path, num_lanes: 2)
      for n <- 1..100, do: :ok = LsmIndex.put(index, "key:#{n}", n)
      :ok = LsmIndex.close(index)
      {:ok, report} = LsmIndex.verify(path)

      child =
        start_with_mounts(~s(mount --bind "#{dir}" "#{dir}" && mount -o remount,bind,ro "#{dir}"))

      assert {:error, :erofs} = call(child, File, :write, [Path.join(dir, "file"), "text"])
      assert {:error, %Error{reason: :io} = error} = call(child, :open, [path])
      assert String.starts_with?(error.detail.path, path)
      assert error.message =~ path
      assert error.message =~ "Read-only"
      assert call(child, :verify, [path]) == {:ok, report}

      # One that is to be created there is refused as well.
      other = Path.join(dir, "other")
      assert {:error, %Error{reason: :io, detail: detail}} = call(child, :open, [other])
      assert detail.path == other
      ChildVM.stop(child)

      {:ok, index} = LsmIndex.open(path)
      assert LsmIndex.count(index) == 100
    end
  end

  describe "a system that gives no more files" do
    setup do
      child = ChildVM.start(through: ~s(ulimit -n 64; exec "$@"))
      silence(child)
      %{child: child}
    end

    test "is enough for an index of many lanes", %{path: path, child: child} do
      start_index(child, path, num_lanes: 64, compaction_threshold: 10, max_log_bytes: 65_536)
      {made, []} = write_batches(child, 1..1_000)
      assert :ok = call(child, :flush, [:faulty])
      assert :ok = call(child, :compact, [:faulty])
      # As many segments as it has files, mapped.
      assert call(child, :stats, [:faulty]).total_segments == 64
      {more, []} = write_batches(child, 1_001..1_500)
      assert_holds(child, MapSet.new(made ++ more), 1..1_500)
      assert :ok = call(child, :close, [:faulty])
      start_index(child, path)
      assert_holds(child, MapSet.new(made ++ more), 1..1_500)
    end

    # With one or two left, something can be begun that cannot be ended.
    for left <- 0..2 do
      test "costs no acknowledged change, #{left} left", %{path: path, child: child} do
        start_index(child, path, @options)
        {before, []} = write_batches(child, 1..100)
        assert call(child, ChildVM, :take_files_but, [unquote(left)]) > 10

        # Nothing shows of it until a file is to be written.
        {made, errors} = write_batches(child, 101..2_000)
        if unquote(left) == 0, do: assert([_ | _] = errors)
        made = MapSet.new(before ++ made)
        for error <- errors, do: assert_refused(error, unquote(left))
        assert_holds(child, made, 1..2_000)

        if unquote(left) == 0 do
          assert {:error, %Error{reason: :io}} = call(child, :open, [path <> "2"])
          assert {:error, %Error{reason: :io}} = call(child, :verify, [path])
        end

        call(child, ChildVM, :give_files_back, [])
        {later, errors} = write_batches(child, 3_001..3_100)
        for error <- errors, do: assert_refused(%{reason: :poisoned} = error, unquote(left))
        made = MapSet.union(made, MapSet.new(later))
        assert_holds(child, made, 1..3_100)
        assert ChildVM.kill_and_wait(child) == 128 + 9

        {:ok, index} = LsmIndex.open(path)
        assert LsmIndex.count(index) == 3 * MapSet.size(made)
        assert LsmIndex.ids(index) == Enum.sort(made)
        assert :ok = LsmIndex.close(index)
        assert {:ok, %{torn: nil, leftovers: []}} = LsmIndex.verify(path)
      end
    end

    # A directory is opened to be synced. If another process took the last file before that, the
    # index has to be opened again.
    defp assert_refused(%Error{reason: :poisoned}, left), do: assert(left > 0)
    defp assert_refused(error, _left), do: assert(%Error{reason: :io, detail: %{path: _}} = error)
  end
end
