defmodule LsmIndex.ResidencyTest do
  use LsmIndex.Case, async: true

  alias LsmIndex.Error

  @moduletag :tmp_dir

  test "changes where the bytes are, and no answer", %{tmp_dir: dir} do
    pairs = for n <- 1..20_000, do: {"key:#{n}", n}

    for residency <- [:mmap, :populate, :heap] do
      {:ok, index} =
        LsmIndex.open(Path.join(dir, "#{residency}"), num_lanes: 2, residency: residency)

      {:ok, 20_000} = LsmIndex.load(index, pairs)
      :ok = LsmIndex.compact(index)
      memory = LsmIndex.memory(index)
      %{disk_bytes: disk_bytes} = LsmIndex.stats(index)

      if residency == :heap do
        assert memory.mapped_files == 0 and memory.private_segments >= disk_bytes
        assert LsmIndex.warm(index) == {:ok, 0}
      else
        assert memory.private_segments == 0 and memory.mapped_files == disk_bytes
        test = self()
        assert LsmIndex.warm(index, progress: &send(test, &1)) == {:ok, disk_bytes}
        assert_received %{lanes: 1, of_lanes: 2}
        assert_received %{bytes: ^disk_bytes, lanes: 2, of_lanes: 2}
      end

      assert Enum.all?(pairs, fn {key, id} -> LsmIndex.get(index, key) == [id] end)
      assert LsmIndex.get(index, "key:0") == []
      LsmIndex.close(index)
    end
  end

  test "warm takes no other option" do
    assert {:error, %Error{reason: :invalid_option}} = LsmIndex.warm(memory_index(), lanes: 1)
  end
end
