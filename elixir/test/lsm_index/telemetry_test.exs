defmodule LsmIndex.TelemetryTest do
  # A stand-in for :telemetry is loaded for the length of each test, so nothing may run beside it.
  use LsmIndex.Case, async: false

  import ExUnit.CaptureLog

  setup do
    Process.register(self(), :lsm_index_telemetry_test)

    {:module, module, _code, _} =
      Module.create(
        :telemetry,
        quote do
          def execute(event, measurements, metadata) do
            send(:lsm_index_telemetry_test, {event, measurements, metadata})
          end
        end,
        Macro.Env.location(__ENV__)
      )

    on_exit(fn ->
      :code.purge(module)
      :code.delete(module)
    end)
  end

  @tag :tmp_dir
  test "opening and closing, loading, flushing and compacting", %{tmp_dir: dir} do
    path = Path.join(dir, "index")
    {:ok, index} = LsmIndex.open(path, num_lanes: 2)

    assert_received {[:lsm_index, :open, :stop], %{duration: _}, %{path: ^path, num_lanes: 2}}

    {:ok, 3} = LsmIndex.load(index, [{"a", 1}, {"b", 2}, {"c", 3}])
    assert_received {[:lsm_index, :load, :stop], measurements, %{path: ^path}}
    assert %{count: 3, duration: duration} = measurements
    assert is_integer(duration) and duration >= 0

    :ok = LsmIndex.flush(index)
    assert_received {[:lsm_index, :flush, :stop], %{duration: _}, %{path: ^path, result: :ok}}

    :ok = LsmIndex.compact(index)
    assert_received {[:lsm_index, :compact, :stop], %{duration: _}, %{path: ^path, result: :ok}}

    :ok = LsmIndex.close(index)
    assert_received {[:lsm_index, :close, :stop], %{duration: _}, %{path: ^path, result: :ok}}
  end

  @tag :tmp_dir
  test "a recovery tells what it made again, and what it could not", %{tmp_dir: dir} do
    path = Path.join(dir, "index")
    {:ok, index} = LsmIndex.open(path, num_lanes: 2)
    for n <- 1..5, do: :ok = LsmIndex.put(index, "a", n)
    :ok = LsmIndex.write(index, [{:put, "b", 1}, {:put, "c", 1}])
    # A new index had nothing to recover.
    refute_received {[:lsm_index, :recovery, :stop], _, _}

    # What a crash would leave now.
    whole = path <> ".whole"
    File.cp_r!(path, whole)
    {:ok, recovered} = LsmIndex.open(whole)
    assert_received {[:lsm_index, :recovery, :stop], counts, metadata}
    assert %{batches: 6, changes: 7, log_files: 2, log_bytes: _, micros: _} = counts
    assert counts == Map.take(LsmIndex.stats(recovered).recovery, Map.keys(counts))
    assert metadata == %{path: whole, torn: nil, dropped: []}
    assert_received {[:lsm_index, :open, :stop], _, %{path: ^whole}}

    [torn, damaged] =
      for kind <- ["torn", "damaged"] do
        copy = "#{path}.#{kind}"
        File.cp_r!(path, copy)
        copy |> Path.join("wal/*.wal") |> Path.wildcard() |> Enum.max()
      end

    File.write!(torn, "garbage", [:append])
    File.write!(damaged, String.duplicate("garbage", 10), [:append])

    log =
      capture_log(fn ->
        for {kind, recover} <- [torn: :strict, damaged: :salvage] do
          {:ok, copy} = LsmIndex.open("#{path}.#{kind}", recover: recover)
          :ok = LsmIndex.close(copy)
        end
      end)

    for {file, bytes, level} <- [{torn, 7, "warn"}, {damaged, 70, "error"}] do
      place = file |> Path.dirname() |> Path.dirname()
      assert_received {[:lsm_index, :recovery, :stop], %{batches: 6}, %{path: ^place} = metadata}
      lost = metadata.torn || hd(metadata.dropped)
      assert %{path: ^file, bytes: ^bytes, offset: offset} = lost
      assert log =~ ~r/\[#{level}.*\] .* #{bytes} bytes from byte #{offset} of #{file}/
    end

    # Nothing is left to recover of what ended well.
    :ok = LsmIndex.close(recovered)
    {:ok, reopened} = LsmIndex.open(whole)
    refute_received {[:lsm_index, :recovery, :stop], _, _}
    # Their ends would be announced to a test that is over.
    for index <- [index, reopened], do: :ok = LsmIndex.close(index)
  end

  test "an index in memory comes and goes silently, and look-ups and writes are silent" do
    index = memory_index()
    :ok = LsmIndex.put(index, "a", 1)
    [1] = LsmIndex.get(index, "a")
    [[1]] = LsmIndex.get_many(index, ["a"])
    :ok = LsmIndex.write(index, for(n <- 1..1_000, do: {:put, "a", n}))
    :ok = LsmIndex.close(index)
    refute_received {[:lsm_index | _], _, _}
  end

  test "a failed flush says so" do
    index = memory_index()
    :ok = LsmIndex.close(index)
    {:error, error} = LsmIndex.flush(index)
    assert_received {[:lsm_index, :flush, :stop], _, %{path: :memory, result: {:error, ^error}}}
  end

  test "a write that waits is a stall, and no other is" do
    # A lane is flushed at one change, and a writer who finds two more waits.
    suspend(LsmIndex.Compactor)
    options = [num_lanes: 1, compaction_threshold: 1]
    index = memory_index(options)
    shapes = LsmEqualityIndex.new(:int8, options)

    operations = [
      put: {index, &LsmIndex.put(index, "key", &1)},
      delete: {index, fn _n -> LsmIndex.delete(index, "key", 1) end},
      write: {index, &LsmIndex.write(index, [{:put, "key", &1}])},
      add_shape: {shapes.lsm, &LsmIndex.Index.add_shape(shapes, 0, &1, nil)},
      remove_shape: {shapes.lsm, fn _n -> LsmIndex.Index.remove_shape(shapes, 0, 1, nil) end}
    ]

    for {operation, {lsm, run}} <- operations do
      :ok = LsmIndex.flush(lsm)
      assert_received {[:lsm_index, :flush, :stop], _, _}
      for n <- 1..3, do: :ok = LsmIndex.put(lsm, "#{operation}:#{n}", n)
      refute_received {[:lsm_index | _], _, _}
      run.(4)

      assert_received {[:lsm_index, :stall], %{duration: _},
                       %{path: :memory, operation: ^operation}}

      refute_received {[:lsm_index | _], _, _}
    end
  end

  test "a difference between an index and its shadow" do
    alias LsmIndex.Test.Electric.{Filter, ShadowedForgetfulIndex}
    filter = Filter.new(equality_index: ShadowedForgetfulIndex)
    where = %{operation: "=", field: "id", type: :int8, value: 1, and_where: nil}
    ShadowedForgetfulIndex.add_shape(filter, 1, :a, where, [])
    ask = fn -> ShadowedForgetfulIndex.affected_shapes(filter, 1, "id", %{"id" => "1"}) end

    ask.()
    refute_received {[:lsm_index, :shadow, :difference], _, _}
    Process.put(:fault, fn _found -> MapSet.new([:b, :c]) end)
    assert capture_log(ask) =~ "differ about"

    assert_received {[:lsm_index, :shadow, :difference], %{missing: 2, extra: 1}, metadata}
    assert %{condition_id: 1, field: "id", value: "1"} = metadata
    assert {metadata.missing, metadata.extra} == {MapSet.new([:b, :c]), MapSet.new([:a])}
  end
end
