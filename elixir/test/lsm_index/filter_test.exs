defmodule LsmIndex.FilterTest do
  use LsmIndex.Case, async: true

  @moduletag :tmp_dir

  test "changes what segments have, and no answer", %{tmp_dir: dir} do
    pairs = for n <- 1..20_000, do: {"key:#{n}", n}

    for filter <- [:none, :fuse8, :bloom] do
      path = Path.join(dir, "#{filter}")
      {:ok, index} = LsmIndex.open(path, num_lanes: 2, filter: filter)
      {:ok, 20_000} = LsmIndex.load(index, pairs)
      :ok = LsmIndex.compact(index)

      bytes = LsmIndex.memory(index).sections.filters
      assert if filter == :none, do: bytes == 0, else: bytes in 20_000..30_000
      expected = if filter == :none, do: 0, else: 2
      assert %{filtered_segments: ^expected, filtering_lanes: ^expected} = LsmIndex.stats(index)

      assert Enum.all?(pairs, fn {key, id} -> LsmIndex.get(index, key) == [id] end)
      assert Enum.all?(1..20_000, &(LsmIndex.get(index, "absent:#{&1}") == []))
      LsmIndex.close(index)
      assert {:ok, _report} = LsmIndex.verify(path)
    end
  end
end
