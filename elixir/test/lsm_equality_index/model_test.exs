defmodule LsmEqualityIndex.ModelTest do
  # Random runs of the five functions beside a model that keeps {value, id, and_where} in a set. They
  # follow from the seed that ExUnit prints.

  use ExUnit.Case, async: true

  alias LsmIndex.Index

  @values [-1, 0, 1, 2, 3.0, 4.5]
  @ids_and_rests [
    {1, nil},
    {2, nil},
    {"a", nil},
    {{:b}, nil},
    {1, :even},
    {"a", :even},
    {"c", :odd}
  ]

  for {name, options} <- [
        {"in memory", []},
        {"with tiny overlays", [num_lanes: 1, compaction_threshold: 1]}
      ] do
    test "#{name}" do
      index = new_with_parity(unquote(options))

      for _ <- 1..3_000, reduce: MapSet.new() do
        model ->
          model = step(index, model)
          check(index, model)
          model
      end
    end
  end

  defp new_with_parity(options) do
    residual = fn parity, record, _shape ->
      parity == if rem(record["n"], 2) == 0, do: :even, else: :odd
    end

    LsmEqualityIndex.new(:float8, [residual: residual] ++ options)
  end

  defp step(index, model) do
    value = Enum.random(@values)
    {id, rest} = Enum.random(@ids_and_rests)

    case Enum.random(1..10) do
      n when n <= 5 ->
        Index.add_shape(index, value, id, rest)
        MapSet.put(model, {value, id, rest})

      n when n <= 9 ->
        Index.remove_shape(index, value, id, rest)
        MapSet.delete(model, {value, id, rest})

      10 ->
        assert LsmEqualityIndex.flush(index) == :ok
        model
    end
  end

  defp check(index, model) do
    value = Enum.random(@values)
    n = Enum.random(1..2)
    record = %{"v" => "#{value}", "n" => n}
    rests = [nil, if(n == 2, do: :even, else: :odd)]

    expected = for {^value, id, rest} <- model, rest in rests, into: MapSet.new(), do: id
    assert Index.affected_shapes(index, "v", record, %{}) == expected
    assert Index.all_shape_ids(index) == MapSet.new(model, &elem(&1, 1))
    assert Index.empty?(index) == (MapSet.size(model) == 0)
  end
end
