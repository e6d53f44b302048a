defmodule LsmIndex.BoundsTest do
  use ExUnit.Case, async: true

  alias LsmIndex.Bounds

  test "lists are few up to the bound, and count no further" do
    for {few?, most} <- [{&Bounds.few_keys?/1, 1024}, {&Bounds.few_changes?/1, 256}] do
      assert few?.([])
      assert few?.(Enum.to_list(1..most))
      refute few?.(Enum.to_list(1..(most + 1)))
      refute few?.(Enum.to_list(1..(most + 1)) ++ :improper)
    end
  end

  test "what is no list is left to the NIF" do
    for other <- [:all, "keys", %{}, [1 | 2], nil], do: assert(Bounds.few_keys?(other))
  end
end
