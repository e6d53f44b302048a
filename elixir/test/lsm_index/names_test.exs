defmodule LsmIndex.NamesTest do
  use LsmIndex.Case, async: true

  alias LsmIndex.Names

  test "finds what was registered, until it no longer is" do
    index = memory_index()
    assert :ok = Names.register(__MODULE__, index)
    assert Names.fetch(__MODULE__) == {:ok, index}
    assert Names.fetch!(__MODULE__) == index
    assert :ok = Names.unregister(__MODULE__)
    assert {:error, %Error{reason: :not_found} = error} = Names.fetch(__MODULE__)
    assert error.message =~ inspect(__MODULE__)
    assert error.detail == %{name: __MODULE__}
    assert_raise Error, error.message, fn -> Names.fetch!(__MODULE__) end
  end

  test "an index stands for itself" do
    index = memory_index()
    assert Names.fetch(index) == {:ok, index}
    assert Names.fetch!(index) == index
  end
end
