defmodule LsmIndex.InspectTest do
  use LsmIndex.Case, async: true

  test "an index in memory" do
    assert inspect(memory_index(num_lanes: 3)) == "#LsmIndex<:memory, lanes: 3>"
  end

  @tag :tmp_dir
  test "an index with a path, open and closed", %{tmp_dir: dir} do
    path = Path.join(dir, ~s(odd "name"))
    {:ok, index} = LsmIndex.open(path)
    shown = "#LsmIndex<path: #{inspect(path)}, lanes: 64>"
    assert inspect(index) == shown
    :ok = LsmIndex.close(index)
    assert inspect(index) == shown
  end
end
