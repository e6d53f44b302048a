defmodule LsmIndex.Routes.ModelTest do
  # Random runs of the functions of routes beside a model: a map from names to a set of
  # {constant, target}. They follow from the seed that ExUnit prints.

  use ExUnit.Case, async: true

  alias LsmIndex.Routes

  @moduletag timeout: 300_000

  @names [1, 1.0, {1, "id"}, {2, "id"}, "id", :id, [], ""]
  @targets [1, 1.0, "1", "shape-1", {:a, "b"}, nil, [], [7], {7}]

  # Types, constants and what they are printed as. Those that are equal in SQL come one after the other.
  @half ~T[01:02:03.5]
  @long_half ~T[01:02:03.500]
  @values [
    {:int8, 1, "1"},
    {:int4, 1, "1"},
    {:float8, 1.0, "1.0"},
    {:numeric, 1, "1"},
    {:int8, -(2 ** 63), "-9223372036854775808"},
    {:numeric, 1.5, "1.5"},
    {:float8, 1.5, "1.50"},
    {:bool, true, "t"},
    {:text, "1", "1"},
    {:varchar, "1", "1"},
    {:text, "", ""},
    {:uuid, <<1::128>>, "00000000-0000-0000-0000-000000000001"},
    {:time, @half, "01:02:03.5"},
    {:time, @long_half, "01:02:03.500"},
    {:timestamptz, ~U[2024-02-29 01:02:03Z], "2024-02-29 01:02:03+00"},
    {:timestamptz, ~U[2024-02-29 01:02:03Z], "2024-02-29 06:32:03+05:30"},
    {{:enum, "e"}, "x", "x"},
    {:text, "x", "x"}
  ]

  for keys <- [:canonical, :exact] do
    test "in memory, with #{keys} keys" do
      for options <- [[], [num_lanes: 1, compaction_threshold: 1]] do
        {:ok, routes} = Routes.open(:memory, settings(unquote(keys)) ++ options)
        run(routes, 2_500, & &1)
      end
    end

    @tag :tmp_dir
    test "in a directory that is opened again, with #{keys} keys", %{tmp_dir: dir} do
      for durability <- [:os, :memory] do
        path = Path.join(dir, "#{durability}")
        options = settings(unquote(keys)) ++ [durability: durability]
        first = options ++ [num_lanes: 3, compaction_threshold: 20]
        {:ok, routes} = Routes.open(path, first)

        routes =
          run(routes, 1_200, fn routes ->
            :ok = Routes.close(routes)
            {:ok, routes} = Routes.open(path, options ++ [compaction_threshold: 20])
            routes
          end)

        assert Routes.close(routes) == :ok
      end
    end
  end

  defp settings(keys), do: [keys: keys, parser: &parse/2]

  defp parse(text, {:enum, _name}), do: {:ok, text}
  defp parse(text, type), do: LsmIndex.Test.Electric.Eval.parse(type, text)

  defp run(routes, steps, reopen) do
    {routes, _model} =
      for n <- 1..steps, reduce: {routes, %{}} do
        {routes, model} ->
          {routes, model} = step(routes, model, reopen)
          check_some(routes, model)
          if rem(n, 50) == 0, do: check_all(routes, model)
          {routes, model}
      end

    routes
  end

  defp step(routes, model, reopen) do
    {name, {type, value, _text}, target} = arguments()
    route = {constant(routes, value), target}

    case Enum.random(1..200) do
      n when n <= 60 ->
        assert Routes.add(routes, name, type, value, target) == :ok
        {routes, put(model, name, {:shape, route})}

      n when n <= 100 ->
        assert Routes.remove(routes, name, type, value, target) == :ok
        {routes, delete(model, name, {:shape, route})}

      n when n <= 150 ->
        assert Routes.add_condition(routes, name, type, value, target) == :ok
        {routes, put(model, name, {:condition, route})}

      n when n <= 180 ->
        assert Routes.remove_condition(routes, name, type, value, target) == :ok
        {routes, delete(model, name, {:condition, route})}

      n when n <= 192 ->
        assert Routes.drop(routes, name) == :ok
        {routes, Map.delete(model, name)}

      n when n <= 195 ->
        assert LsmIndex.flush(routes.index) == :ok
        {routes, model}

      196 ->
        assert LsmIndex.compact(routes.index) == :ok
        {routes, model}

      _n ->
        {reopen.(routes), model}
    end
  end

  # Mostly two names, so that they have much, and the others come and go.
  defp arguments do
    names = Enum.random([Enum.take(@names, 2), @names])
    {Enum.random(names), Enum.random(@values), Enum.random(@targets)}
  end

  defp put(model, name, route),
    do: Map.update(model, name, MapSet.new([route]), &MapSet.put(&1, route))

  defp delete(model, name, route) do
    routes = model |> Map.get(name, MapSet.new()) |> MapSet.delete(route)
    if MapSet.size(routes) == 0, do: Map.delete(model, name), else: Map.put(model, name, routes)
  end

  # One constant for all that are equal.
  defp constant(%{keys: :exact}, value), do: value
  defp constant(_routes, @long_half), do: @half
  defp constant(_routes, 1.0), do: 1
  defp constant(_routes, value), do: value

  defp check_some(routes, model) do
    {name, {type, _value, text}, _target} = arguments()
    expected = expected(routes, model, name, [type], text)

    assert {name, type, text, found(Routes.affected(routes, name, type, text))} ==
             {name, type, text, expected}
  end

  defp check_all(routes, model) do
    assert MapSet.new(Routes.namespaces(routes)) == MapSet.new(Map.keys(model))
    assert length(Routes.namespaces(routes)) == map_size(model)

    for name <- @names do
      routes_of = Map.get(model, name, [])
      targets = for {kind, {_, target}} <- routes_of, uniq: true, do: {kind, target}
      {ids, conditions} = Routes.all(routes, name)
      listed = for({:shape, id} <- targets, do: id)
      assert {name, set(ids)} == {name, set(listed)}
      assert {name, set(conditions)} == {name, set(for({:condition, c} <- targets, do: c))}
      assert {name, Routes.count(routes, name)} == {name, length(targets)}
    end

    questions =
      for name <- @names,
          {type, _, text} <- @values,
          types <- [type, [:text, type, :int8]],
          do: {name, types, text}

    expected =
      for {name, types, text} <- questions,
          do: expected(routes, model, name, List.wrap(types), text)

    assert routes |> Routes.affected_many(questions) |> Enum.map(&found/1) == expected
  end

  defp expected(routes, model, name, types, text) do
    constants =
      for type <- types, {:ok, value} <- [parse(text, type)], do: constant(routes, value)

    routes_of =
      for {kind, {value, target}} <- Map.get(model, name, []),
          same?(value, constants),
          do: {kind, target}

    found(
      {:ok, for({:shape, id} <- Enum.uniq(routes_of), do: id),
       for({:condition, c} <- Enum.uniq(routes_of), do: c)}
    )
  end

  # As `in` does, but 1 is not 1.0.
  defp same?(value, constants), do: Enum.any?(constants, &(&1 === value))

  defp found({:ok, ids, conditions}), do: {set(ids), set(conditions)}

  # With their number, as each should be there once.
  defp set(terms), do: {length(terms), MapSet.new(terms)}
end
