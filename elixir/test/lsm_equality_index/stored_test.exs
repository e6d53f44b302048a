defmodule LsmEqualityIndex.StoredTest do
  # Indexes with a path: what they keep, and what they refuse to.

  use ExUnit.Case, async: true

  alias LsmIndex.{Error, Index}

  @moduletag :tmp_dir

  @numbers [0, 1, 2 ** 30 - 1, 2 ** 30, 2 ** 70, -1, 1.0]
  @containers [{1}, {1, 2}, {"a", nil}, [], [1], %{a: 1}]
  @ids @numbers ++ @containers ++ ["1", "", :shape, nil, String.duplicate("x", 1_000)]

  defp affected(index, text), do: Index.affected_shapes(index, "id", %{"id" => text}, %{})

  test "holds every term when it is opened again", %{tmp_dir: dir} do
    residual = fn {:over, limit}, record, _shape -> record["x"] > limit end
    options = [path: Path.join(dir, "index"), residual: residual]

    index = LsmEqualityIndex.new(:text, options)
    for id <- @ids, do: Index.add_shape(index, "a", id, nil)
    index = Index.add_shape(index, "b", "shape", {:over, "5"})
    assert LsmEqualityIndex.close(index) == :ok

    index = LsmEqualityIndex.new(:text, options)
    assert affected(index, "a") == MapSet.new(@ids)
    record = fn x -> %{"id" => "b", "x" => x} end
    assert Index.affected_shapes(index, "id", record.("6"), %{}) == MapSet.new(["shape"])
    assert Index.affected_shapes(index, "id", record.("4"), %{}) == MapSet.new()

    for id <- @ids, do: Index.remove_shape(index, "a", id, nil)
    Index.remove_shape(index, "b", "shape", {:over, "5"})
    assert Index.empty?(index)
    assert LsmEqualityIndex.close(index) == :ok

    index = LsmEqualityIndex.new(:text, options)
    assert Index.empty?(index)
    assert LsmEqualityIndex.close(index) == :ok
  end

  test "compacting lets later shapes have the places of removed ones", %{tmp_dir: dir} do
    index = LsmEqualityIndex.new(:int8, path: Path.join(dir, "index"), num_lanes: 1)

    places =
      for n <- 1..500, uniq: true do
        Index.add_shape(index, 1, "shape-#{n}", nil)
        [place] = LsmIndex.ids(index.lsm)
        Index.remove_shape(index, 1, "shape-#{n}", nil)
        assert LsmEqualityIndex.compact(index) == :ok
        place
      end

    assert length(places) < 250
    assert LsmEqualityIndex.close(index) == :ok
  end

  test "refuses terms that would mean nothing later", %{tmp_dir: dir} do
    path = Path.join(dir, "index")
    index = LsmEqualityIndex.new(:int8, path: path, residual: fn _, _, _ -> true end)

    for term <- [
          make_ref(),
          self(),
          fn -> :ok end,
          {1, [self()]},
          %{a: make_ref()},
          [1 | self()]
        ] do
      assert_raise ArgumentError, ~r/would mean nothing after a restart/, fn ->
        Index.add_shape(index, 1, term, nil)
      end

      assert_raise ArgumentError, ~r/would mean nothing after a restart/, fn ->
        Index.add_shape(index, 1, "shape", term)
      end

      assert Index.remove_shape(index, 1, term, nil) == index
    end

    assert Index.empty?(index)
    assert LsmEqualityIndex.close(index) == :ok
  end

  test "does not answer wrongly when opened without the evaluator", %{tmp_dir: dir} do
    path = Path.join(dir, "index")
    index = LsmEqualityIndex.new(:int8, path: path, residual: fn _, _, _ -> true end)
    Index.add_shape(index, 1, "shape", :rest)
    LsmEqualityIndex.close(index)

    index = LsmEqualityIndex.new(:int8, path: path)
    assert_raise ArgumentError, ~r/made without residual:/, fn -> affected(index, "1") end
    assert LsmEqualityIndex.close(index) == :ok
  end

  test "names what it cannot open", %{tmp_dir: dir} do
    path = Path.join(dir, "index")
    index = LsmEqualityIndex.new(:int8, path: path)
    assert %Error{reason: :locked} = catch_error(LsmEqualityIndex.new(:int8, path: path))
    assert LsmEqualityIndex.close(index) == :ok
  end
end
