defmodule LsmEqualityIndex.ParserTest do
  # Types that the library does not know.
  use ExUnit.Case, async: true

  alias LsmIndex.Index

  defp affected(index, text), do: Index.affected_shapes(index, "id", %{"id" => text}, %{})

  describe "a parser" do
    test "makes a type of its own" do
      parser = fn
        "{" <> rest ->
          numbers = rest |> String.trim_trailing("}") |> String.split(",")
          {:ok, Enum.map(numbers, &if(&1 == "NULL", do: nil, else: String.to_integer(&1)))}

        "NULL" ->
          {:ok, nil}

        _ ->
          :error
      end

      index = LsmEqualityIndex.new({:array, :int4}, parser: parser)
      index = Index.add_shape(index, [1, nil, 3], "shape", nil)
      assert affected(index, "{1,NULL,3}") == MapSet.new(["shape"])
      assert affected(index, "{1,3}") == MapSet.new()
      assert affected(index, "NULL") == MapSet.new()

      assert_raise RuntimeError,
                   ~S(Could not parse value for field "id" of type {:array, :int4}),
                   fn -> affected(index, "1,2") end
    end

    test "goes before the library's own for a known type" do
      parser = fn "#" <> number -> {:ok, String.to_integer(number)} end
      index = LsmEqualityIndex.new(:int8, parser: parser)
      index = Index.add_shape(index, 42, "shape", nil)
      assert affected(index, "#42") == MapSet.new(["shape"])
    end

    test "that returns something else is told what to return" do
      for returned <- [42, nil, {:error, :odd}, {:ok, 1, 2}] do
        index = LsmEqualityIndex.new(:odd, parser: fn _ -> returned end)

        message =
          "the parser of type :odd must return {:ok, value} or :error, " <>
            "but returned #{inspect(returned)} for \"x\""

        assert_raise ArgumentError, message, fn -> affected(index, "x") end
      end
    end

    test "that gives what has no key has not parsed" do
      index = LsmEqualityIndex.new(:odd, parser: fn _ -> {:ok, make_ref()} end)
      assert_raise RuntimeError, ~r/of type :odd$/, fn -> affected(index, "x") end
    end
  end
end
