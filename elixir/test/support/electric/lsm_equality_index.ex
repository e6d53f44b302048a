defmodule LsmIndex.Test.Electric.LsmEqualityIndex do
  @moduledoc "The adapter under test, as a host makes it."

  use LsmIndex.Electric.EqualityIndex,
    filter: LsmIndex.Test.Electric.Filter,
    where_condition: LsmIndex.Test.Electric.WhereCondition,
    parser: {__MODULE__, :parse}

  @doc "Reads what is not read natively."
  @spec parse(binary, term) :: {:ok, term} | :error
  def parse(text, {:enum, _name}), do: {:ok, text}
  def parse(text, {:array, type}), do: text |> String.trim_leading("{") |> elements(type, [])
  # Types that no service has: any term can be one.
  def parse(text, type) when not is_atom(type), do: {:ok, text}
  def parse(text, type), do: LsmIndex.Test.Electric.Eval.parse(type, text)

  # Those of one dimension, without quotes.
  defp elements("}", _type, values), do: {:ok, Enum.reverse(values)}

  defp elements(text, type, values) do
    with [element, separator | rest] <-
           Regex.split(~r/[,}]/, text, parts: 2, include_captures: true),
         {:ok, value} <- if(element == "NULL", do: {:ok, nil}, else: parse(element, type)) do
      rest = IO.iodata_to_binary(rest)
      elements(if(separator == "}", do: "}" <> rest, else: rest), type, [value | values])
    else
      _no_element -> :error
    end
  end
end

defmodule LsmIndex.Test.Electric.ExactEqualityIndex do
  @moduledoc "The same with keys that are equal as they are in ETS."

  use LsmIndex.Electric.EqualityIndex,
    filter: LsmIndex.Test.Electric.Filter,
    where_condition: LsmIndex.Test.Electric.WhereCondition,
    parser: {LsmIndex.Test.Electric.LsmEqualityIndex, :parse},
    keys: :exact
end
