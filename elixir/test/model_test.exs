defmodule LsmIndex.ModelTest do
  # Random operations, on an index and on a map of sets that says what it must answer. PropEr
  # shrinks what fails to the shortest list of operations that still does.
  use LsmIndex.Case, async: true

  @moduletag :tmp_dir
  @moduletag timeout: 600_000

  @memory_cases String.to_integer(System.get_env("LSM_INDEX_MODEL_CASES", "500"))
  @path_cases div(@memory_cases, 5)

  test "an index in memory answers as a map of sets does" do
    check(@memory_cases, operation(), fn lanes, threshold, operations ->
      {:ok, index} = LsmIndex.open(:memory, num_lanes: lanes, compaction_threshold: threshold)
      {holds?, index} = run(operations, index, %{}, & &1)
      :ok = LsmIndex.close(index)
      holds?
    end)
  end

  test "an index in files does so too, also when it is opened again", %{tmp_dir: dir} do
    operation = :proper_types.frequency([{12, operation()}, {1, :reopen}])
    number = :counters.new(1, [])

    check(@path_cases, operation, fn lanes, threshold, operations ->
      :counters.add(number, 1, 1)
      path = Path.join(dir, "index-#{:counters.get(number, 1)}")
      {:ok, index} = LsmIndex.open(path, num_lanes: lanes, compaction_threshold: threshold)

      reopen = fn index ->
        :ok = LsmIndex.close(index)
        {:ok, index} = LsmIndex.open(path, compaction_threshold: threshold)
        index
      end

      {holds?, index} = run(operations, index, %{}, reopen)
      :ok = LsmIndex.close(index)
      File.rm_rf!(path)
      holds?
    end)
  end

  defp check(cases, operation, property) do
    input = {:proper_types.oneof([1, 3, 64]), threshold(), :proper_types.list(operation)}

    forall =
      :proper.forall(input, fn {lanes, threshold, list} -> property.(lanes, threshold, list) end)

    case :proper.quickcheck(forall, [:quiet, :long_result, numtests: cases, max_size: 60]) do
      true ->
        IO.puts("#{cases} generated cases passed")

      counterexample ->
        flunk("fails for {lanes, threshold, operations}: #{inspect(counterexample)}")
    end
  end

  defp threshold, do: :proper_types.oneof([1, 2, 7, 50])

  defp operation do
    :proper_types.frequency([
      {10, {:put, key(), id()}},
      {6, {:delete, key(), id()}},
      {3, {:write, :proper_types.list({:proper_types.oneof([:put, :delete]), key(), id()})}},
      {2, {:load, :proper_types.list({key(), id()})}},
      {2, {:range, key(), :proper_types.integer(0, 500), :proper_types.integer(1, 6_000)}},
      {1, {:drop_key, key()}},
      {2, :flush},
      {1, :compact}
    ])
  end

  defp key, do: :proper_types.oneof(["", "a", "b", "c", "hot", <<0>>, <<255>>, "longer key"])

  defp id do
    :proper_types.oneof([:proper_types.integer(0, 8), :proper_types.integer(0, 2_147_483_647)])
  end

  defp run([], index, model, _reopen), do: {agree?(index, model), index}

  defp run([operation | rest], index, model, reopen) do
    {index, model} = apply_to(operation, index, model, reopen)
    if agree?(index, model), do: run(rest, index, model, reopen), else: {false, index}
  end

  defp apply_to({:put, key, id}, index, model, _reopen) do
    :ok = LsmIndex.put(index, key, id)
    {index, add(model, key, id)}
  end

  defp apply_to({:delete, key, id}, index, model, _reopen) do
    :ok = LsmIndex.delete(index, key, id)
    {index, remove(model, key, id)}
  end

  defp apply_to({:write, operations}, index, model, _reopen) do
    :ok = LsmIndex.write(index, operations)

    model =
      Enum.reduce(operations, model, fn
        {:put, key, id}, model -> add(model, key, id)
        {:delete, key, id}, model -> remove(model, key, id)
      end)

    {index, model}
  end

  defp apply_to({:load, pairs}, index, model, _reopen) do
    {:ok, count} = LsmIndex.load(index, pairs)
    ^count = length(pairs)
    {index, Enum.reduce(pairs, model, fn {key, id}, model -> add(model, key, id) end)}
  end

  defp apply_to({:range, key, first, length}, index, model, _reopen) do
    ids = Enum.to_list(first..(first + length - 1))
    :ok = LsmIndex.write(index, for(id <- ids, do: {:put, key, id}))
    {index, Enum.reduce(ids, model, &add(&2, key, &1))}
  end

  defp apply_to({:drop_key, key}, index, model, _reopen) do
    :ok = LsmIndex.write(index, for(id <- Map.get(model, key, []), do: {:delete, key, id}))
    {index, Map.delete(model, key)}
  end

  defp apply_to(:flush, index, model, _reopen) do
    :ok = LsmIndex.flush(index)
    {index, model}
  end

  defp apply_to(:compact, index, model, _reopen) do
    :ok = LsmIndex.compact(index)
    {index, model}
  end

  defp apply_to(:reopen, index, model, reopen), do: {reopen.(index), model}

  defp add(model, key, id), do: Map.update(model, key, MapSet.new([id]), &MapSet.put(&1, id))

  defp remove(model, key, id) do
    ids = model |> Map.get(key, MapSet.new()) |> MapSet.delete(id)
    if MapSet.size(ids) == 0, do: Map.delete(model, key), else: Map.put(model, key, ids)
  end

  defp agree?(index, model) do
    keys = ["absent" | Map.keys(model)]
    expected = Enum.map(keys, &Enum.sort(Map.get(model, &1, [])))
    all_ids = expected |> Enum.concat() |> Enum.uniq() |> Enum.sort()

    LsmIndex.get_many(index, keys) == expected and
      Enum.map(keys, &LsmIndex.get(index, &1)) == expected and
      LsmIndex.count(index) == map_size(model) and
      LsmIndex.empty?(index) == (model == %{}) and
      LsmIndex.ids(index) == all_ids and
      Enum.all?(model, fn {key, ids} -> LsmIndex.member?(index, key, Enum.at(ids, 0)) end) and
      not LsmIndex.member?(index, "absent", 0)
  end
end
