defmodule LsmIndex.KillTest do
  # A VM that writes is killed, again and again. Whatever it had acknowledged is there afterwards,
  # and nothing that was never made: of each writer exactly what it had stored after some operation
  # that is not older than its last acknowledged one.
  use LsmIndex.Case, async: true

  alias LsmIndex.{ChildVM, Churn}

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @rounds 24
  @lanes 6

  # LSM_INDEX_KILL_SEED repeats the choices of a run, though not its timing.
  test "what is acknowledged survives kill -9", %{tmp_dir: dir} do
    seed = seed()
    path = Path.join(dir, "index")
    starts = for writer <- Churn.writers(), do: {writer, {%{}, 1}}
    test = %{path: path, seed: seed, starts: starts, acknowledged: 0, batches: 0}

    test =
      Enum.reduce(1..@rounds, test, fn round, test ->
        try do
          round(round, test)
        rescue
          error ->
            IO.puts(:stderr, "kill test: round #{round} of LSM_INDEX_KILL_SEED=#{seed} failed")
            reraise error, __STACKTRACE__
        end
      end)

    # Or nothing was tested: there was something to recover, the log went on from file to file and
    # lost its oldest ones, and lanes have merged far more segments than they have.
    assert test.acknowledged > 1_000
    assert test.batches > 0
    assert numbers(path, "wal/*.wal") |> Enum.min() > @rounds
    segments = numbers(path, "epoch-*/lane-*/*.seg")
    assert Enum.max(segments) > 4 * length(segments)

    IO.puts(
      :stderr,
      "\nkill test: #{@rounds} rounds, #{test.acknowledged} acknowledged writes, none lost"
    )
  end

  defp seed do
    case System.get_env("LSM_INDEX_KILL_SEED") do
      nil -> :rand.uniform(1_000_000_000)
      seed -> String.to_integer(seed)
    end
  end

  defp numbers(path, pattern) do
    for file <- Path.wildcard(Path.join(path, pattern)),
        do: file |> Path.basename() |> Path.rootname() |> String.to_integer()
  end

  defp round(round, test) do
    draw = fn what, range -> :erlang.phash2({test.seed, round, what}, range) end

    options = [
      num_lanes: @lanes,
      durability: if(rem(round, 2) == 0, do: :os, else: :sync),
      compaction_threshold: Enum.at([20, 50, 200, 10_000], draw.(:threshold, 4)),
      max_log_bytes: Enum.at([4_096, 10_000, 64_000, 200_000], draw.(:log, 4))
    ]

    child = ChildVM.start()
    ChildVM.cast(child, Churn, :run, [test.path, options, test.seed, test.starts])
    last = until_killed(child, moment(draw), %{})
    # A VM that was killed in its first moments has created nothing yet.
    if File.exists?(Path.join(test.path, "CURRENT")), do: verify(test.path)

    # Every other time the next VM has to recover the index itself.
    opened = if draw.(:copy, 2) == 0, do: test.path, else: copy(test.path)
    {:ok, index} = LsmIndex.open(opened, Keyword.delete(options, :durability))
    recovery = LsmIndex.stats(index).recovery
    assert recovery.dropped == []
    starts = Enum.map(test.starts, &found(&1, last, index, test.seed))
    keys = Enum.sum(for {_writer, {state, _n}} <- starts, do: map_size(state))
    assert LsmIndex.count(index) == keys
    assert %{torn: nil, torn_bytes: 0} = verify(opened)
    assert :ok = LsmIndex.close(index)
    assert %{torn: nil, torn_bytes: 0, leftovers: [], live_keys: ^keys} = verify(opened)
    if opened != test.path, do: File.rm_rf!(opened)

    acknowledged =
      for {{_kind, number}, {_state, first}} <- test.starts, last[number], reduce: 0 do
        sum -> sum + last[number] - first + 1
      end

    %{
      test
      | starts: starts,
        acknowledged: test.acknowledged + acknowledged,
        batches: test.batches + recovery.batches
    }
  end

  defp copy(path) do
    copy = path <> ".copy"
    if File.exists?(path), do: File.cp_r!(path, copy)
    copy
  end

  defp verify(path) do
    assert {:ok, report} = LsmIndex.verify(path)
    report
  end

  # What the VM tells before it is killed, how long after that, and whether it closes the index.
  defp moment(draw) do
    case draw.(:moment, 6) do
      0 -> {"opening", draw.(:delay, 15), :never}
      1 -> {"writing", 20 + draw.(:delay, 100), draw.(:closing, 20)}
      _ -> {"writing", 20 + draw.(:delay, 280), :never}
    end
  end

  # Gives the last acknowledged operation of each writer, by its number.
  defp until_killed(%{port: port} = child, moment, last) do
    receive do
      {^port, {:data, <<"ok", writer, n::64>>}} ->
        until_killed(child, moment, Map.put(last, writer, n))

      {^port, {:data, <<131, _::binary>> = answer}} ->
        assert {:answer, {:ok, :ok}} = :erlang.binary_to_term(answer)
        until_killed(child, moment, last)

      {^port, {:data, text}} ->
        assert text in ["opening", "writing"]
        with {^text, delay, _} <- moment, do: Process.send_after(self(), {port, :time}, delay)
        until_killed(child, moment, last)

      {^port, :time} ->
        last_moment(child, moment)
        until_killed(child, moment, last)

      {^port, :kill} ->
        ChildVM.kill(child)
        until_killed(child, moment, last)

      {^port, {:exit_status, status}} ->
        assert status == 128 + 9
        last
    after
      120_000 -> flunk("nothing happens any more")
    end
  end

  defp last_moment(child, {_, _, :never}), do: send(self(), {child.port, :kill})

  defp last_moment(child, {_, _, delay}) do
    ChildVM.cast(child, LsmIndex, :close, [Churn])
    Process.send_after(self(), {child.port, :kill}, delay)
  end

  ## What is found, and where the writer goes on

  # Puts that nobody has synced are there or not, each for itself; the others are, and no more.
  defp found({{:unlogged, number} = writer, {state, first}}, last, index, seed) do
    stored = Churn.stored(index, writer)
    synced = Map.get(last, number, first - 1)
    pairs = pairs(stored)
    certain = MapSet.new(first..synced//1, &put_by(writer, seed, &1))
    assert MapSet.subset?(MapSet.union(pairs(state), certain), pairs)

    for {_key, n} = pair <- MapSet.difference(pairs, pairs(state)) do
      assert n >= first
      assert pair == put_by(writer, seed, n)
    end

    newest = pairs |> Enum.map(&elem(&1, 1)) |> Enum.max(fn -> 0 end)
    {writer, {stored, max(newest, synced) + 1}}
  end

  defp found({{_, number} = writer, {state, first}}, last, index, seed) do
    stored = Churn.stored(index, writer)
    acknowledged = Map.get(last, number, first - 1)

    expected =
      Enum.reduce(first..acknowledged//1, state, fn n, state ->
        {_changes, state} = Churn.step(writer, seed, state, n)
        state
      end)

    {writer, {stored, next(stored, writer, seed, {expected, acknowledged})}}
  end

  # The writer was at one more operation. More of them only if the VM had not yet got rid of what it
  # had to tell.
  @most_unheard 20_000

  # The operation that the writer goes on with, if `stored` is what it had stored after one from the
  # last acknowledged on.
  defp next(stored, writer, seed, expected) do
    expected
    |> Stream.iterate(fn {state, n} ->
      {elem(Churn.step(writer, seed, state, n + 1), 1), n + 1}
    end)
    |> Stream.take(@most_unheard)
    |> Enum.find_value(fn {state, n} -> if state == stored, do: n + 1 end)
    |> case do
      nil -> flunk(unexpected(stored, writer, expected))
      next -> next
    end
  end

  defp unexpected(stored, writer, {state, acknowledged}) do
    {stored, state} = {pairs(stored), pairs(state)}

    """
    #{inspect(writer)} has stored what was not there after any operation since #{acknowledged},
    the last acknowledged one. Compared with what was there after that,
    too much: #{inspect(MapSet.difference(stored, state))}
    missing: #{inspect(MapSet.difference(state, stored))}
    """
  end

  defp put_by(writer, seed, n) do
    {[{:put, key, ^n}], _state} = Churn.step(writer, seed, %{}, n)
    {key, n}
  end

  defp pairs(state), do: for({key, ids} <- state, id <- ids, into: MapSet.new(), do: {key, id})
end
