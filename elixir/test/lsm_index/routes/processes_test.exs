defmodule LsmIndex.Routes.ProcessesTest do
  # Many processes, and one index of routes.
  use ExUnit.Case, async: true

  import LsmIndex.Test.Routes
  alias LsmIndex.Routes
  alias LsmIndex.Routes.Engine

  test "many processes use the same namespaces at once" do
    routes = memory_routes(num_lanes: 2, compaction_threshold: 50)
    for n <- 0..9, do: Routes.add(routes, {:n, n}, :int8, n, :always)

    work = fn writer ->
      for n <- 1..2_000 do
        name = {:n, rem(n, 10)}
        Routes.add(routes, name, :int8, rem(n, 10), {writer, n})
        {:ok, ids, []} = Routes.affected(routes, name, :int8, "#{rem(n, 10)}")
        true = {writer, n} in ids and :always in ids

        if rem(n, 3) != 0, do: Routes.remove(routes, name, :int8, rem(n, 10), {writer, n})

        # One of its own comes and goes all the time.
        Routes.add_condition(routes, {:own, writer}, :int8, n, n)
        if rem(n, 50) == 0, do: Routes.drop(routes, {:own, writer})
        {ids, conditions} = Routes.all(routes, {:own, writer})
        true = ids == [] and length(conditions) == rem(n, 50)
      end
    end

    1..6 |> Enum.map(&Task.async(fn -> work.(&1) end)) |> Task.await_many(120_000)

    for n <- 0..9 do
      kept = for writer <- 1..6, k <- 1..2_000, rem(k, 3) == 0, rem(k, 10) == n, do: {writer, k}
      {:ok, ids, []} = Routes.affected(routes, {:n, n}, :int8, "#{n}")
      assert same?(ids, [:always | kept])
      assert same?(elem(Routes.all(routes, {:n, n}), 0), [:always | kept])
      assert Routes.count(routes, {:n, n}) == length(kept) + 1
    end

    assert Enum.sort(Routes.namespaces(routes)) == for(n <- 0..9, do: {:n, n})
  end

  @tag :tmp_dir
  test "many processes make and empty the same namespace at once", %{tmp_dir: dir} do
    options = [num_lanes: 1, compaction_threshold: 20]
    {:ok, stored} = Routes.open(Path.join(dir, "index"), options)

    for routes <- [memory_routes(options), stored] do
      work = fn writer ->
        for n <- 1..500 do
          value = rem(n, 3)
          name = {:n, rem(n, 2)}
          :ok = Routes.add(routes, name, :int8, value, writer)
          {:ok, ids, []} = Routes.affected(routes, name, :int8, "#{value}")
          true = writer in ids
          true = writer in elem(Routes.all(routes, name), 0)
          true = Routes.count(routes, name) >= 1
          true = name in Routes.namespaces(routes)
          :ok = Routes.remove(routes, name, :int8, value, writer)
          {:ok, ids, []} = Routes.affected(routes, name, :int8, "#{value}")
          false = writer in ids
        end
      end

      1..4 |> Enum.map(&Task.async(fn -> work.(&1) end)) |> Task.await_many(120_000)
      assert Routes.namespaces(routes) == []
      for name <- [{:n, 0}, {:n, 1}], do: assert(Routes.all(routes, name) == {[], []})
    end

    assert Routes.close(stored) == :ok
  end

  test "one of many that remove the last of a namespace is told so" do
    routes = memory_routes()
    {:ok, key} = Engine.key(routes, :int8, 1)

    for _ <- 1..200 do
      for id <- 1..4, do: Routes.add(routes, :n, :int8, 1, id)
      remove = fn id -> Engine.change(routes, :delete, :n, key, {id}) end
      answers = 1..4 |> Enum.map(&Task.async(fn -> remove.(&1) end)) |> Task.await_many()
      assert Enum.sort(answers) == [:changed, :changed, :changed, :emptied]
      assert Routes.namespaces(routes) == []
    end
  end
end
