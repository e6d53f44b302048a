defmodule LsmIndex.Bounds do
  @moduledoc false
  # What a normal scheduler may be given in one call. The NIF holds to the same numbers, but to find
  # out how long a list of millions is takes it milliseconds; here nobody counts further than needed.

  @most_keys 1024
  @most_changes 256

  @doc "Whether that many keys may be looked up at once. What is no list is the NIF's to refuse."
  @spec few_keys?(term) :: boolean
  def few_keys?(keys), do: few?(keys, @most_keys)

  @doc "Whether that many changes may be made at once."
  @spec few_changes?(term) :: boolean
  def few_changes?(changes), do: few?(changes, @most_changes)

  defp few?([_ | rest], most), do: most > 0 and few?(rest, most - 1)
  defp few?(_end, _most), do: true
end
