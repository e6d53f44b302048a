defmodule LsmIndex.Test.Electric.LsmEqualityIndex do
  @moduledoc "The adapter under test, as a host makes it."

  use LsmIndex.Electric.EqualityIndex,
    filter: LsmIndex.Test.Electric.Filter,
    where_condition: LsmIndex.Test.Electric.WhereCondition,
    parser: {__MODULE__, :parse}

  @doc "Reads what is not read natively."
  @spec parse(binary, term) :: {:ok, term} | :error
  def parse(text, {:enum, _name}), do: {:ok, text}
  def parse(text, type), do: LsmIndex.Test.Electric.Eval.parse(type, text)
end

defmodule LsmIndex.Test.Electric.ExactEqualityIndex do
  @moduledoc "The same with keys that are equal as they are in ETS."

  use LsmIndex.Electric.EqualityIndex,
    filter: LsmIndex.Test.Electric.Filter,
    where_condition: LsmIndex.Test.Electric.WhereCondition,
    parser: {LsmIndex.Test.Electric.LsmEqualityIndex, :parse},
    keys: :exact
end
