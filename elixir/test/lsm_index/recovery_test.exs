defmodule LsmIndex.RecoveryTest do
  # What opening makes of a log that a crash or damage left behind, and what it tells.
  use LsmIndex.Case, async: true

  import ExUnit.CaptureLog
  import LsmIndex.Crash

  @moduletag :tmp_dir

  # A file of the log begins with a header; the record of one put without a term is 44 bytes long.
  @header 64
  @record 44

  setup %{tmp_dir: dir} do
    %{path: Path.join(dir, "index")}
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
