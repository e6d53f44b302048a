defmodule LsmIndex.Test.Electric.LsmOldIndex do
  @moduledoc "The adapter for the filter of September 2025, as a host makes it."

  use LsmIndex.Electric.Protocol, protocol: LsmIndex.Test.Electric.OldIndex.Protocol

  alias LsmIndex.Test.Electric.Eval

  @spec new(Eval.type()) :: LsmEqualityIndex.t()
  def new(type), do: LsmEqualityIndex.new(type, residual: &holds?/3)

  defp holds?(and_where, record, _shape), do: Eval.evaluate(and_where, record) != {:ok, false}
end
