defmodule LsmIndex.ErrorTest do
  use LsmIndex.Case, async: true
  doctest LsmIndex.Error

  test "takes over what the NIF says" do
    native = {:key_too_long, "too long", %{length: 70_000}}
    error = %Error{reason: :key_too_long, message: "too long", detail: %{length: 70_000}}
    assert Error.from_native(native) == error
    assert Error.wrap({:error, native}) == {:error, error}
    assert Error.wrap(:ok) == :ok
    assert Error.wrap({:ok, %{}}) == {:ok, %{}}
  end

  test "can be raised and shows its message" do
    assert_raise Error, "gone", fn -> raise Error.new(:closed, "gone") end
    assert_raise Error, "gone", fn -> raise Error, reason: :closed, message: "gone" end
  end
end
