defmodule LsmIndex.Routes.QuestionsTest do
  # Many questions at once: what they come to, and how many a normal scheduler takes.
  use LsmIndex.Case, async: true

  import LsmIndex.Test.Routes
  alias LsmIndex.{Native, Routes}

  test "are answered as each of them, whatever the names" do
    :rand.seed(:exsss, 23)
    routes = memory_routes()
    # Among them some that are equal in OTP 25 and no more in later releases; and more than are
    # looked through for one that was asked before.
    names = [0.0, -0.0, {0.0}, {-0.0}, 0, :n, "n", {1, "id"}, {1, "other"}, %{}]
    names = names ++ Enum.to_list(1..20) ++ [String.duplicate("x", 2_000)]

    for {name, n} <- Enum.with_index(names), value <- 1..5 do
      Routes.add(routes, name, :int8, value, {n, value})
      Routes.add(routes, name, :text, "#{value}", {n, value})
      Routes.add_condition(routes, name, :text, "text", {n, value})
    end

    for size <- [1, 2, 10, 256, 257, 1_000], names <- [names, Enum.take(names, 3)] do
      questions =
        for _ <- 1..size do
          # In other words of memory, or in the same.
          name = Enum.random(names)
          copy = name |> :erlang.term_to_binary() |> :erlang.binary_to_term()
          types = Enum.random([:int8, :text, [:int8], [:text, :varchar], [:int8, :text], []])
          text = Enum.random(["1", "5", "9", "01", "text", "", nil])
          {Enum.random([name, copy]), types, text}
        end

      expected =
        for {name, types, text} <- questions do
          with {:ok, ids, conditions} <- Routes.affected(routes, name, types, text),
               do: {:ok, Enum.uniq(ids), Enum.uniq(conditions)}
        end

      assert Routes.affected_many(routes, questions) == expected
    end

    assert Routes.affected_many(routes, []) == []
  end

  test "are bounded together on a normal scheduler" do
    routes = memory_routes()
    %{ref: ref} = routes.index
    add_all(routes, :n, 1, 1..200)
    ask = fn count, name, text -> List.duplicate({name, :text, text}, count) end
    add_all(routes, :n, 2, for(n <- 1..10, do: {n, String.duplicate("x", 2_000)}))
    question = fn value -> {:n, :int8, value} end

    for {questions, answer} <- [
          {ask.(256, :n, "x"), 256},
          {ask.(257, :n, "x"), :large},
          {ask.(2, :n, String.duplicate("x", 32_000)), 2},
          {ask.(3, :n, String.duplicate("x", 32_000)), :large},
          # A name is encoded once.
          {ask.(256, String.duplicate("n", 30_000), "x"), 256},
          {for(n <- 1..3, do: {{n, String.duplicate("n", 30_000)}, :text, "x"}), :large},
          {List.duplicate(question.("1"), 10), 10},
          {List.duplicate(question.("1"), 11), :large},
          {[question.("2")], 1},
          {List.duplicate(question.("2"), 2), :large}
        ] do
      answers = Native.text_get_many(ref, questions)
      assert if(is_list(answers), do: length(answers), else: answers) == answer
      assert ref |> Native.text_get_many_dirty(questions) |> length() == length(questions)
    end
  end
end
