defmodule LsmIndex.CompactorTest do
  # Kills the compactor that all indexes in memory share, so it runs alone.
  use LsmIndex.Case, async: false

  alias LsmIndex.Compactor

  @options [num_lanes: 1, compaction_threshold: 500]
  # What one lane's overlay may hold before work is asked for, doubled.
  @overlay 2 * 1_024

  defp fill(index, range), do: for(n <- range, do: :ok = LsmIndex.put(index, "key:#{n}", n))

  defp settled?(index), do: LsmIndex.stats(index).total_overlay_entries <= @overlay

  test "serves all indexes in memory" do
    indexes = for _ <- 1..8, do: memory_index(@options)
    indexes |> Enum.map(&Task.async(fn -> fill(&1, 1..10_000) end)) |> Task.await_many(120_000)

    for index <- indexes do
      eventually(fn -> settled?(index) end)
      assert %{total_segments: segments} = LsmIndex.stats(index)
      assert segments in 1..4
      assert LsmIndex.count(index) == 10_000
      assert LsmIndex.get(index, "key:5000") == [5_000]
    end
  end

  test "one that was killed is replaced, also for indexes opened before" do
    index = memory_index(@options)
    fill(index, 1..2_000)
    killed = Process.whereis(Compactor)
    Process.exit(killed, :kill)
    await_end(killed)
    eventually(fn -> Process.whereis(Compactor) not in [nil, killed] end)

    fill(index, 2_001..50_000)
    assert LsmIndex.count(index) == 50_000
    assert LsmIndex.stats(index).total_segments in 1..4
  end

  test "an index closed while its work waits is forgotten" do
    index = memory_index(@options)
    fill(index, 1..5_000)
    :ok = LsmIndex.close(index)
    compactor = Process.whereis(Compactor)
    send(compactor, {:lsm_index_work, index.ref})
    eventually(fn -> :queue.is_empty(:sys.get_state(compactor).waiting) end)
    assert Process.whereis(Compactor) == compactor
  end

  test "messages it does not know are harmless" do
    compactor = Process.whereis(Compactor)
    send(compactor, :hello)
    assert %{own: nil} = :sys.get_state(compactor)
  end

  test "throw-away indexes cost no process and leave nothing with the compactor" do
    processes = length(Process.list())

    for n <- 1..2_000 do
      index = memory_index()
      :ok = LsmIndex.put(index, "a", n)
      [^n] = LsmIndex.get(index, "a")
    end

    assert length(Process.list()) <= processes + 5

    eventually(fn ->
      Process.info(Process.whereis(Compactor), :message_queue_len) == {:message_queue_len, 0}
    end)

    assert :queue.is_empty(:sys.get_state(Compactor).waiting)
  end

  test "without the application there is a reason" do
    ExUnit.CaptureLog.capture_log(fn -> :ok = Application.stop(:lsm_index) end)
    assert {:error, %Error{reason: :not_started}} = LsmIndex.open(:memory)
    assert {:error, %Error{reason: :not_started} = error} = LsmIndex.open("nowhere")
    assert error.message =~ ":lsm_index"
    refute File.exists?("nowhere")
  after
    :ok = Application.start(:lsm_index)
  end
end
