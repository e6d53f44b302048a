defmodule LsmIndex.ConcurrencyTest do
  # Many processes read while one writes and lanes are flushed and compacted underneath.
  use LsmIndex.Case, async: true

  @readers 8
  # A write into the log waits its turn among the readers twice more.
  @writes %{memory: 200_000, unlogged: 200_000, logged: 2_000}
  @stable 2_000

  for {kind, durability} <- [memory: :os, unlogged: :memory, logged: :os] do
    @tag :tmp_dir
    @tag timeout: 300_000
    test "readers see every finished write, index in #{kind}", %{tmp_dir: dir} do
      place = if unquote(kind) == :memory, do: :memory, else: Path.join(dir, "index")
      options = [num_lanes: 3, compaction_threshold: 200, durability: unquote(durability)]
      {:ok, index} = LsmIndex.open(place, options)
      writes = @writes[unquote(kind)]
      {:ok, @stable} = LsmIndex.load(index, for(n <- 1..@stable, do: {"stable:#{n}", n}))

      # Counts the writes that returned; what readers see may be ahead of it, never behind.
      finished = :atomics.new(1, [])

      readers =
        for seed <- 1..@readers,
            do: Task.async(fn -> read(index, {finished, writes}, seed, 0) end)

      compactor = Task.async(fn -> compact(index, {finished, writes}, 0) end)

      for n <- 1..writes do
        :ok = LsmIndex.put(index, "moving:#{rem(n, 500)}", n)
        if n > 500, do: :ok = LsmIndex.delete(index, "moving:#{rem(n, 500)}", n - 500)
        :atomics.put(finished, 1, n)
      end

      assert Enum.all?(Task.await_many(readers, 300_000), &(&1 > 0))
      assert Task.await(compactor, 300_000) > 0
      assert LsmIndex.stats(index).flushes > 0

      assert LsmIndex.count(index) == @stable + 500

      assert LsmIndex.ids(index) ==
               Enum.sort(Enum.uniq(Enum.to_list(1..@stable) ++ last_ids(writes)))

      assert :ok = LsmIndex.close(index)
    end
  end

  defp last_ids(writes), do: Enum.to_list((writes - 499)..writes)

  defp read(index, {finished, writes} = goal, seed, rounds) do
    stable = rem(rounds * 7 + seed, @stable) + 1
    assert LsmIndex.get(index, "stable:#{stable}") == [stable]
    assert LsmIndex.get(index, "absent:#{stable}") == []

    before = :atomics.get(finished, 1)
    slot = rem(rounds * 13 + seed, 500)
    check_moving(LsmIndex.get(index, "moving:#{slot}"), slot, before)
    slots = Enum.map(1..20, &rem(&1 * 17 + rounds, 500))
    answers = LsmIndex.get_many(index, Enum.map(slots, &"moving:#{&1}"))
    for {slot, ids} <- Enum.zip(slots, answers), do: check_moving(ids, slot, before)

    if before == writes, do: rounds + 1, else: read(index, goal, seed, rounds + 1)
  end

  # A slot holds its newest write, or for the moment between a put and a delete two. The newest
  # is never older than what had been written before the look-up.
  defp check_moving(ids, slot, before) do
    assert length(ids) <= 2
    assert Enum.all?(ids, &(rem(&1, 500) == slot))
    expected = before - Integer.mod(before - slot, 500)
    if expected > 0, do: assert(List.last(ids) >= expected)
    with [older, newer] <- ids, do: assert(newer - older == 500)
  end

  defp compact(index, {finished, writes} = goal, rounds) do
    :ok = if rem(rounds, 2) == 0, do: LsmIndex.flush(index), else: LsmIndex.compact(index)

    if :atomics.get(finished, 1) == writes,
      do: rounds + 1,
      else: compact(index, goal, rounds + 1)
  end
end
