defmodule LsmIndex.Routes.TextsTest do
  # Constants and texts: what meets, what is refused, one by one and many at once.
  use LsmIndex.Case, async: true

  import LsmIndex.Test.Routes
  alias LsmIndex.Routes

  describe "constants" do
    test "that are no value of the type are refused by adding, and no matter to removing" do
      routes = memory_routes()
      add_all(routes, :n, 1, [:a])

      for {type, value} <- [int8: "one", int8: [1], bool: 1, uuid: "short", time: ~D[2024-01-01]] do
        message = "no constant of type #{inspect(type)}: #{inspect(value)}"
        assert_raise ArgumentError, message, fn -> Routes.add(routes, :n, type, value, :a) end

        assert_raise ArgumentError, message, fn ->
          Routes.add_condition(routes, :n, type, value, :a)
        end

        assert Routes.remove(routes, :n, type, value, :a) == :ok
        assert Routes.remove_condition(routes, :n, type, value, :a) == :ok
      end

      assert Routes.all(routes, :n) == {[:a], []}
    end

    test "are equal if SQL says so, or with keys: :exact if they are the same term" do
      canonical = memory_routes()
      exact = memory_routes(keys: :exact, parser: parser())

      for {type, value, text, exact?} <- [
            {:numeric, 1, "1", true},
            {:numeric, 1, "1.0", false},
            {:float8, 1.0, "1", false},
            {:float8, 1.0, "1.0", true},
            {:int8, 7, "007", true},
            {:text, "a", "a", true}
          ] do
        for routes <- [canonical, exact], do: Routes.add(routes, :n, type, value, {type, value})
        assert {:ok, ids, []} = Routes.affected(canonical, :n, type, text)
        assert {type, value} in ids
        {:ok, ids, []} = Routes.affected(exact, :n, type, text)
        assert {text, {type, value} in ids} == {text, exact?}
      end
    end

    test "are never nil, which equals nothing" do
      for routes <- [memory_routes(), memory_routes(keys: :exact, parser: parser())],
          type <- [:int8, :text, {:enum, "e"}] do
        for add <- [&Routes.add/5, &Routes.add_condition/5] do
          message = "nil equals nothing: it is no constant"
          assert_raise ArgumentError, message, fn -> add.(routes, :n, type, nil, :a) end
        end

        assert Routes.remove(routes, :n, type, nil, :a) == :ok
        assert Routes.affected(routes, :n, type, nil) == {:ok, [], []}
        assert Routes.namespaces(routes) == []
      end
    end

    test "can be longer than a key" do
      routes = memory_routes()
      texts = for end_ <- ["a", "b"], size <- [65_533, 65_534, 70_000, 300_000], do: {end_, size}

      for {last, size} = id <- texts,
          do: Routes.add(routes, :n, :text, String.duplicate("x", size - 1) <> last, id)

      questions =
        for {last, size} <- texts, do: {:n, :text, String.duplicate("x", size - 1) <> last}

      for {{name, type, text}, id} <- Enum.zip(questions, texts),
          do: assert(Routes.affected(routes, name, type, text) == {:ok, [id], []})

      assert Routes.affected_many(routes, questions) == for(id <- texts, do: {:ok, [id], []})
    end

    test "that are numbers can be too" do
      routes = memory_routes()

      for size <- [65_524, 65_525, 65_526, 65_530, 65_533, 65_534, 70_000] do
        text = "0." <> String.duplicate("7", size - 2)
        assert Routes.add(routes, :n, :numeric, text, size) == :ok
        assert {size, Routes.affected(routes, :n, :numeric, text)} == {size, {:ok, [size], []}}
        assert Routes.affected_many(routes, [{:n, :numeric, text}]) == [{:ok, [size], []}]
        assert Routes.affected(routes, :n, [:text, :numeric], text) == {:ok, [size], []}
      end
    end
  end

  describe "texts" do
    test "are read as each of several types" do
      routes = memory_routes()
      Routes.add(routes, :n, :int8, 1, :int)
      Routes.add(routes, :n, :text, "1", :text)
      Routes.add(routes, :n, :numeric, 1.5, :numeric)
      find = &(routes |> Routes.affected(:n, &1, &2) |> sorted())

      assert find.([:int8, :text], "1") == {:ok, [:int, :text], []}
      # The number 1 has one key, whatever the type.
      assert find.([:numeric], "1.0") == {:ok, [:int], []}
      assert find.([:int8, :numeric], "1.5") == {:ok, [:numeric], []}
      assert find.([:int8, :text], "one") == {:ok, [], []}
      assert Routes.affected(routes, :n, [:int8, :numeric], "one") == :error
      assert Routes.affected(routes, :n, [], "1") == {:ok, [], []}
      assert Routes.affected(routes, :n, [:int8, :numeric], nil) == {:ok, [], []}
    end

    test "that are none are texts of no type" do
      routes = memory_routes(parser: parser())

      for type <- LsmIndex.Postgres.types() ++ [{:enum, "e"}, [:int8, :text]],
          text <- [1, :a, ["1"]] do
        assert {type, Routes.affected(routes, :n, type, text)} == {type, :error}
        assert Routes.affected_many(routes, [{:n, type, text}]) == [:error]
      end
    end

    test "of other types are read by the parser, or not at all" do
      routes = memory_routes(parser: parser())
      Routes.add(routes, :n, {:array, :text}, ["a", "b"], :array)
      Routes.add(routes, :n, {:enum, "e"}, "a", :enum)
      assert Routes.affected(routes, :n, {:array, :text}, "a,b") == {:ok, [:array], []}
      assert Routes.affected(routes, :n, {:enum, "e"}, "a") == {:ok, [:enum], []}
      assert Routes.affected(routes, :n, {:enum, "e"}, "null") == {:ok, [], []}
      assert Routes.affected(routes, :n, {:enum, "e"}, "?") == :error
      assert Routes.affected(routes, :n, [{:enum, "e"}, :int8], "a") == {:ok, [:enum], []}
      # What is known here is not for the parser, unless its terms are to be compared.
      assert Routes.affected(routes, :n, :text, "null") == {:ok, [], []}
      assert Routes.affected(routes, :n, [{:enum, "e"}, :int8], "?") == :error

      without = memory_routes()
      Routes.add(without, :n, {:enum, "e"}, "a", :enum)

      for types <- [{:enum, "e"}, [:text, {:enum, "e"}]] do
        assert_raise ArgumentError, ~r/unknown type {:enum, "e"}: give parser:/, fn ->
          Routes.affected(without, :n, types, "a")
        end
      end
    end
  end

  describe "affected_many" do
    test "answers as affected does, in order, however many and whatever they are" do
      routes = memory_routes(parser: parser())
      for n <- 1..300, do: Routes.add(routes, {:n, rem(n, 7)}, :int8, rem(n, 50), n)
      for n <- 1..50, do: Routes.add_condition(routes, {:n, rem(n, 7)}, :text, "#{n}", n)
      Routes.add(routes, {:n, 1}, {:enum, "e"}, "a", :enum)
      add_all(routes, {:n, 2}, 3, 1_000..3_000)
      long = String.duplicate("9", 70_000)

      # Some only of types that are known, so that they take one call of the library.
      for extra <- [[], [{:int8, nil}], [{{:enum, "e"}, "a"}, {:text, long}]],
          size <- [3, 4_000] do
        kinds =
          [{:int8, "3"}, {:text, "7"}, {[:int8, :text], "8"}, {:int8, "x"}, {:bool, "t"}] ++
            [{:numeric, "12.0"}, {:text, String.slice(long, 0, 1_000)}] ++ extra

        questions =
          for _ <- 1..size, {types, text} = Enum.random(kinds) do
            {{:n, :rand.uniform(9)}, types, text}
          end

        expected =
          for {name, types, text} <- questions, do: Routes.affected(routes, name, types, text)

        assert Enum.map(Routes.affected_many(routes, questions), &set/1) ==
                 Enum.map(expected, &set/1)
      end

      assert Routes.affected_many(routes, []) == []
    end

    defp set(:error), do: :error
    defp set(answer), do: sorted(answer)

    test "lists each shape and condition once, whatever types lead to it" do
      routes = memory_routes()

      for {type, value} <- [int8: 1, text: "1"] do
        Routes.add(routes, :n, type, value, :shape)
        Routes.add_condition(routes, :n, type, value, :condition)
      end

      question = {:n, [:int8, :text], "1"}
      answer = {:ok, [:shape], [:condition]}
      assert Routes.affected(routes, :n, [:int8, :text], "1") == answer
      assert Routes.affected_many(routes, [question]) == [answer]
      # The dirty twin too.
      many = List.duplicate(question, 1_000)
      assert Routes.affected_many(routes, many) == List.duplicate(answer, 1_000)
    end

    test "takes a million bytes of text" do
      routes = memory_routes()
      texts = for n <- 1..100, do: String.duplicate("x", 30_000) <> "#{n}"
      for text <- texts, do: Routes.add(routes, :n, :text, text, binary_part(text, 29_999, 2))
      questions = for text <- texts, do: {:n, :text, text}
      answers = Routes.affected_many(routes, questions)
      assert answers == for({n, t, text} <- questions, do: Routes.affected(routes, n, t, text))
      assert length(answers) == 100
    end
  end
end
