defmodule LsmIndex.Electric.EqualityIndex.LifetimeTest do
  # An index lives as long as its filter.

  use LsmIndex.Test.Electric.Contract, async: true

  alias LsmIndex.Native
  alias LsmIndex.Test.Electric.{ExactEqualityIndex, LsmEqualityIndex}

  for index <- [LsmEqualityIndex, ExactEqualityIndex] do
    describe "#{inspect(index)}:" do
      setup do: calls(unquote(index))

      test "the index goes with the process that owns the filter, or with its table", c do
        index = c.index

        test = self()

        owner =
          spawn(fn ->
            filter = new_filter(index)
            for n <- 1..1_000, do: index.add_shape(filter, 1, n, equality(n), [])
            send(test, {:weak, weak_handle(filter)})
            receive do: (:end -> :ok)
          end)

        assert_receive {:weak, weak}
        assert alive?(weak)
        send(owner, :end)
        await_end(owner)
        eventually(fn -> not alive?(weak) end)

        filter = new_filter(index)
        index.add_shape(filter, 1, 1, equality(1), [])
        weak = weak_handle(filter)
        :ets.delete(filter.counters_table)
        eventually(fn -> :erlang.garbage_collect() && not alive?(weak) end)
      end
    end
  end

  # The binary of a handle brings it back while it lives, and does not keep it alive.
  defp weak_handle(filter) do
    [{_, routes}] = :ets.lookup(filter.counters_table, LsmIndex)
    :erlang.term_to_binary(routes.index.ref)
  end

  defp alive?(weak) do
    in_other_process(fn ->
      try do
        is_integer(Native.count(:erlang.binary_to_term(weak)))
      rescue
        ArgumentError -> false
      end
    end)
  end
end
