defmodule LsmIndex.Test.Routes do
  @moduledoc "What the tests of routes share."

  alias LsmIndex.Routes

  def memory_routes(options \\ []) do
    {:ok, routes} = Routes.open(:memory, options)
    routes
  end

  def parser do
    fn
      "null", _type -> {:ok, nil}
      "?", _type -> :error
      text, {:array, _} -> {:ok, String.split(text, ",")}
      text, type when type in [:int8, :float8, :numeric] -> {:ok, elem(Code.eval_string(text), 0)}
      text, _type -> {:ok, text}
    end
  end

  def add_all(routes, name, value, ids),
    do: for(id <- ids, do: :ok = Routes.add(routes, name, :int8, value, id))

  def sorted({:ok, ids, conditions}), do: {:ok, Enum.sort(ids), Enum.sort(conditions)}

  @doc "Whether a list has the elements of another; `==` would take 1 for 1.0, which are two ids."
  def same?(found, expected) do
    length(found) == length(expected) and MapSet.new(found) == MapSet.new(expected)
  end
end
