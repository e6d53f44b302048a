defmodule LsmIndex.CompactorTest do
  # Kills the compactor that all indexes in memory share, so it runs alone.
  use LsmIndex.Case, async: false

  import ExUnit.CaptureLog
  alias LsmIndex.Compactor

  # A lane is flushed at 500 keys, and a writer who finds 1 000 more does it himself. So with 700
  # keys at a time there is one flush, and only the compactor can have done it.
  @options [num_lanes: 1, compaction_threshold: 500]

  defp fill(index, range), do: for(n <- range, do: :ok = LsmIndex.put(index, "key:#{n}", n))

  # Writes 700 keys, and waits for the flush.
  defp flushed_by_compactor(index, range) do
    %{flushes: flushes, stalls: stalls} = LsmIndex.stats(index)
    fill(index, range)
    eventually(fn -> LsmIndex.stats(index).flushes == flushes + 1 end)
    assert %{lanes_to_flush: 0, stalls: ^stalls} = LsmIndex.stats(index)
  end

  test "serves all indexes in memory" do
    indexes = for _ <- 1..8, do: memory_index(@options)

    each = fn work ->
      indexes |> Enum.map(&Task.async(fn -> work.(&1) end)) |> Task.await_many()
    end

    each.(&flushed_by_compactor(&1, 1..700))

    each.(&fill(&1, 701..10_000))
    each.(fn index -> eventually(fn -> LsmIndex.stats(index).lanes_to_flush == 0 end) end)

    for index <- indexes do
      assert LsmIndex.stats(index).total_segments in 1..4
      assert LsmIndex.count(index) == 10_000
      assert LsmIndex.get(index, "key:5000") == [5_000]
    end
  end

  test "one that was killed is replaced, also for indexes opened before" do
    index = memory_index(@options)
    killed = Process.whereis(Compactor)
    Process.exit(killed, :kill)
    await_end(killed)
    eventually(fn -> Process.whereis(Compactor) not in [nil, killed] end)

    # Nobody hears of this work, until a writer has to wait and tells the new compactor.
    fill(index, 1..700)
    assert %{lanes_to_flush: 1, flushes: 0} = LsmIndex.stats(index)
    fill(index, 701..1_501)
    eventually(fn -> match?(%{lanes_to_flush: 0, flushes: 2}, LsmIndex.stats(index)) end)

    flushed_by_compactor(index, 1_502..2_201)
    assert LsmIndex.count(index) == 2_201
  end

  test "the pace holds background work up, writers never, and no longer than it is set" do
    on_exit(fn -> LsmIndex.set_pace(:infinity) end)
    index = memory_index(@options)
    assert LsmIndex.set_pace(1) == :ok
    # Nothing was written yet, so this one has its time.
    flushed_by_compactor(index, 1..700)

    fill(index, 701..1_201)
    Process.sleep(50)
    assert %{lanes_to_flush: 1, flushes: 1, stalls: 0} = LsmIndex.stats(index)
    # Whoever finds the lane full flushes it.
    fill(index, 1_202..3_000)
    assert %{flushes: flushes, stalls: stalls} = LsmIndex.stats(index)
    assert flushes > 1 and stalls == flushes - 1

    assert LsmIndex.set_pace(:infinity) == :ok
    eventually(fn -> LsmIndex.stats(index).lanes_to_flush == 0 end)
    assert LsmIndex.count(index) == 3_000
    assert_raise FunctionClauseError, fn -> LsmIndex.set_pace(0) end
  end

  test "look-ups that keep asking several segments have them merged" do
    for look_up <- [&LsmIndex.get/2, &LsmIndex.get_many(&1, [&2]), &LsmIndex.member?(&1, &2, 1)] do
      index = memory_index(num_lanes: 1)
      for part <- 0..2, do: LsmIndex.load(index, for(n <- 1..500, do: {"#{part}:#{n}", n}))
      assert LsmIndex.stats(index).total_segments == 3
      # The oldest segment is asked last.
      keys = for n <- 1..500, do: "0:#{n}"
      read = fn -> Enum.each(keys, &look_up.(index, &1)) end
      eventually(fn -> read.() && LsmIndex.stats(index).total_segments == 1 end)
      assert Enum.all?(1..500, &(LsmIndex.get(index, "0:#{&1}") == [&1]))
    end
  end

  test "how often keys are written is told" do
    index = memory_index(@options)
    assert %{write_amplification: 0.0, space_amplification: 0.0} = LsmIndex.stats(index)
    for n <- 1..100, do: :ok = LsmIndex.put(index, "key:#{n}", n)
    :ok = LsmIndex.flush(index)
    for n <- 1..50, do: :ok = LsmIndex.delete(index, "key:#{n}", n)
    :ok = LsmIndex.flush(index)
    # A hundred keys and fifty tombstones, each once, for fifty keys.
    assert %{write_amplification: 1.0, space_amplification: 3.0} = LsmIndex.stats(index)
    :ok = LsmIndex.compact(index)
    assert %{written_keys: 200, space_amplification: 1.0} = LsmIndex.stats(index)
    {:ok, 1} = LsmIndex.load(index, [{"loaded", 1}])
    assert %{written_keys: 201, flushed_keys: 150, loaded_keys: 1} = LsmIndex.stats(index)
  end

  test "an index closed while its work waits is forgotten" do
    index = memory_index(@options)
    compactor = Process.whereis(Compactor)

    log =
      capture_log(fn ->
        suspend(compactor)
        fill(index, 1..700)
        assert LsmIndex.stats(index).lanes_to_flush == 1
        :ok = LsmIndex.close(index)
        :ok = :sys.resume(compactor)
        eventually(fn -> :queue.is_empty(:sys.get_state(compactor).waiting) end)
      end)

    # It is no failure, after which the compactor would try again.
    refute log =~ "compaction"
    assert Process.whereis(Compactor) == compactor
  end

  test "messages it does not know are harmless" do
    compactor = Process.whereis(Compactor)
    for message <- [:hello, :step], do: send(compactor, message)
    assert %{own: nil} = :sys.get_state(compactor)
  end

  test "throw-away indexes cost no process and leave nothing with the compactor" do
    processes = length(Process.list())

    for n <- 1..2_000 do
      # With a threshold of 1, the compactor is told of each.
      index = memory_index(compaction_threshold: 1)
      :ok = LsmIndex.put(index, "a", n)
      [^n] = LsmIndex.get(index, "a")
    end

    assert length(Process.list()) <= processes + 5

    eventually(fn ->
      Process.info(Process.whereis(Compactor), :message_queue_len) == {:message_queue_len, 0} and
        :queue.is_empty(:sys.get_state(Compactor).waiting)
    end)
  end

  test "without the application there is a reason" do
    index = memory_index()
    capture_log(fn -> :ok = Application.stop(:lsm_index) end)
    assert {:error, %Error{reason: :not_started}} = LsmIndex.open(:memory)
    assert {:error, %Error{reason: :not_started} = error} = LsmIndex.open("nowhere")
    assert error.message =~ ":lsm_index"
    refute File.exists?("nowhere")
    assert {:error, %Error{reason: :not_started}} = LsmIndex.load(index, [{"a", 1}])
  after
    :ok = Application.start(:lsm_index)
  end
end
