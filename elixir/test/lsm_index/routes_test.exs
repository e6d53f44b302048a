defmodule LsmIndex.RoutesTest do
  use LsmIndex.Case, async: true

  import LsmIndex.Test.Routes
  alias LsmIndex.{Native, Routes}
  doctest Routes

  @scalars [0, 1, 1.0, 2 ** 70, -(2 ** 64), 1.5, "", "1", :shape, true, <<5::3>>]
  @containers [{}, {1}, {1, 2}, {"a", nil}, [], [1], [nil], [1 | 2], %{}, %{a: [1]}]
  # Terms that mean the same in another VM.
  @lasting @scalars ++ @containers ++ [String.duplicate("x", 40_000)]

  defp passing, do: [make_ref(), self(), fn -> :ok end, {1, [self()]}, %{a: make_ref()}]

  describe "a namespace" do
    test "has any name but nil, and what is its own" do
      routes = memory_routes()
      names = @lasting ++ passing()
      for name <- names, do: Routes.add(routes, name, :int8, 1, {:in, name})

      for name <- names do
        assert Routes.affected(routes, name, :int8, "1") == {:ok, [{:in, name}], []}
        assert Routes.all(routes, name) == {[{:in, name}], []}
        assert Routes.count(routes, name) == 1
      end

      assert same?(Routes.namespaces(routes), names)
      {dropped, kept} = Enum.split(names, 10)
      for name <- dropped, do: assert(Routes.drop(routes, name) == :ok)
      assert same?(Routes.namespaces(routes), kept)

      for name <- dropped,
          do: assert(Routes.affected(routes, name, :int8, "1") == {:ok, [], []})

      for name <- kept, do: Routes.remove(routes, name, :int8, 1, {:in, name})
      assert Routes.namespaces(routes) == []
    end

    test "can be one of thousands" do
      routes = memory_routes()
      for n <- 1..2_000, do: Routes.add(routes, {:n, n}, :int8, 1, n)
      assert Enum.sort(Routes.namespaces(routes)) == for(n <- 1..2_000, do: {:n, n})
      for n <- 1..1_999, do: Routes.remove(routes, {:n, n}, :int8, 1, n)
      assert Routes.namespaces(routes) == [{:n, 2_000}]
    end

    test "has a name as long as a key can be" do
      routes = memory_routes()
      # One byte of the encoding says that it is a binary.
      longest = String.duplicate("n", 65_534)
      assert Routes.add(routes, longest, :int8, 1, :shape) == :ok
      assert Routes.affected(routes, longest, :int8, "1") == {:ok, [:shape], []}
      assert [{:ok, [:shape], []}] = Routes.affected_many(routes, [{longest, :int8, "1"}])

      longer = longest <> "n"

      for write <- [&Routes.add/5, &Routes.remove/5, &Routes.add_condition/5] do
        assert {:error, %Error{reason: :key_too_long}} = write.(routes, longer, :int8, 1, :shape)
      end

      assert {:error, %Error{reason: :key_too_long}} = Routes.drop(routes, longer)
      assert_raise Error, fn -> Routes.affected(routes, longer, :int8, "1") end
      assert_raise Error, fn -> Routes.affected_many(routes, [{longer, :int8, "1"}]) end
      assert_raise Error, fn -> Routes.count(routes, longer) end
      assert_raise Error, fn -> Routes.all(routes, longer) end
      assert Routes.namespaces(routes) == [longest]
    end

    test "comes with its first shape or condition and goes with the last" do
      routes = memory_routes()
      assert Routes.namespaces(routes) == []
      assert Routes.remove(routes, :n, :int8, 1, :a) == :ok
      assert Routes.drop(routes, :n) == :ok

      Routes.add(routes, :n, :int8, 1, :a)
      Routes.add_condition(routes, :n, :int8, 2, :a)
      Routes.remove(routes, :n, :int8, 1, :a)
      assert Routes.namespaces(routes) == [:n]
      Routes.remove_condition(routes, :n, :int8, 2, :a)
      assert Routes.namespaces(routes) == []
      assert {Routes.count(routes, :n), Routes.all(routes, :n)} == {0, {[], []}}
    end

    test "that was dropped is empty when it comes again" do
      routes = memory_routes()

      for round <- 1..5 do
        add_all(routes, :n, 1, 1..2_000)
        add_all(routes, :other, 1, [round])
        assert Routes.drop(routes, :n) == :ok
        assert Routes.affected(routes, :n, :int8, "1") == {:ok, [], []}
        Routes.add(routes, :n, :int8, 1, :new)
        assert Routes.affected(routes, :n, :int8, "1") == {:ok, [:new], []}
        assert {Routes.count(routes, :n), Routes.all(routes, :n)} == {1, {[:new], []}}
        LsmIndex.compact(routes.index)
        assert Routes.all(routes, :n) == {[:new], []}
      end

      assert routes |> Routes.affected(:other, :int8, "1") |> sorted() ==
               {:ok, [1, 2, 3, 4, 5], []}
    end

    test "is listed and counted with each shape once, whatever leads there" do
      routes = memory_routes()
      for n <- 1..3_000, do: Routes.add(routes, :n, :int8, n, rem(n, 2_000))
      for n <- 1..1_000, do: Routes.add_condition(routes, :n, :int8, n, rem(n, 700))
      add_all(routes, :other, 1, 5_000..6_000)

      {ids, conditions} = Routes.all(routes, :n)
      assert Enum.sort(ids) == Enum.to_list(0..1_999)
      assert Enum.sort(conditions) == Enum.to_list(0..699)
      assert Routes.count(routes, :n) == 2_700
    end

    test "is listed in slices that a normal scheduler has time for" do
      routes = memory_routes()
      long = for n <- 1..5, do: :binary.copy(<<n>>, 40_000)
      # Of which the bytes of some slices are the bound, not the ids.
      middling = for n <- 1..300, do: {n, :binary.copy("x", 900)}
      ids = Enum.to_list(1..5_000) ++ long ++ middling
      add_all(routes, :n, 1, ids)

      %{ref: ref} = routes.index
      slices = slices(Native.list_begin(ref, :n))
      {large, small} = Enum.split_with(slices, &match?({:large, _}, &1))
      assert Enum.sort(for {:large, {[id], []}} <- large, do: id) == long
      assert Enum.all?(small, fn {ids, []} -> length(ids) <= 1_024 end)
      assert length(small) > 10
      assert Enum.sort(Enum.flat_map(small, &elem(&1, 0))) == Enum.sort(ids -- long)

      assert {listed, []} = Routes.all(routes, :n)
      assert Enum.sort(listed) == Enum.sort(ids)
      assert {^listed, []} = Routes.all(routes, :n)
      assert slices(Native.list_begin(ref, :other)) == []

      # One that is dropped meanwhile is at its end.
      listing = Native.list_begin(ref, :n)
      assert {[_ | _], []} = Native.list_next(listing)
      assert Routes.drop(routes, :n) == :ok
      assert Native.list_next(listing) == :done
      assert Native.list_next_dirty(listing) == :done
    end

    defp slices(listing) do
      case Native.list_next(listing) do
        :done -> []
        :large -> [{:large, Native.list_next_dirty(listing)} | slices(listing)]
        slice -> [slice | slices(listing)]
      end
    end
  end

  test "nil is no name, as it stands for the index itself" do
    routes = memory_routes()
    message = "nil is the name of no namespace"

    for change <- [
          &Routes.add/5,
          &Routes.remove/5,
          &Routes.add_condition/5,
          &Routes.remove_condition/5
        ] do
      assert_raise ArgumentError, message, fn -> change.(routes, nil, :int8, 1, :shape) end
    end

    for read <- [
          &Routes.affected(&1, nil, :int8, "1"),
          &Routes.affected_many(&1, [{:n, :int8, "1"}, {nil, :int8, "1"}]),
          &Routes.all(&1, nil),
          &Routes.count(&1, nil),
          &Routes.drop(&1, nil)
        ] do
      assert_raise ArgumentError, message, fn -> read.(routes) end
    end

    assert LsmIndex.empty?(routes.index)
  end

  describe "shape ids and conditions" do
    test "are any terms, and not taken for each other" do
      routes = memory_routes()
      terms = @lasting ++ passing() ++ [nil, {nil}, [[]]]

      for term <- terms do
        assert Routes.add(routes, :n, :int8, 1, term) == :ok
        assert Routes.add_condition(routes, :n, :int8, 1, term) == :ok
      end

      {:ok, ids, conditions} = Routes.affected(routes, :n, :int8, "1")
      assert same?(ids, terms) and same?(conditions, terms)
      {ids, conditions} = Routes.all(routes, :n)
      assert same?(ids, terms) and same?(conditions, terms)
      assert Routes.count(routes, :n) == 2 * length(terms)

      for term <- terms, do: assert(Routes.remove(routes, :n, :int8, 1, term) == :ok)
      {:ok, [], conditions} = Routes.affected(routes, :n, :int8, "1")
      assert same?(conditions, terms)
      for term <- terms, do: Routes.remove_condition(routes, :n, :int8, 1, term)
      assert Routes.namespaces(routes) == []
    end

    test "that are large are filed and found" do
      routes = memory_routes()
      ids = for n <- 1..20, do: {n, String.duplicate("x", 10_000 * n)}
      add_all(routes, :n, 1, ids)
      assert routes |> Routes.affected(:n, :int8, "1") |> sorted() == {:ok, ids, []}
      for id <- tl(ids), do: Routes.remove(routes, :n, :int8, 1, id)
      assert Routes.affected(routes, :n, :int8, "1") == {:ok, [hd(ids)], []}
    end

    test "are there once, however often they are added, and gone at once" do
      routes = memory_routes()
      for _ <- 1..3, do: Routes.add(routes, :n, :int8, 1, :a)
      for _ <- 1..3, do: Routes.add_condition(routes, :n, :int8, 1, :a)
      assert Routes.affected(routes, :n, :int8, "1") == {:ok, [:a], [:a]}
      for _ <- 1..2, do: assert(Routes.remove(routes, :n, :int8, 1, :a) == :ok)
      for _ <- 1..2, do: assert(Routes.remove_condition(routes, :n, :int8, 1, :a) == :ok)
      assert Routes.affected(routes, :n, :int8, "1") == {:ok, [], []}
    end

    test "of one constant can be thousands" do
      routes = memory_routes()
      add_all(routes, :n, 1, 1..5_000)
      add_all(routes, :n, 2, [:cold])
      Routes.add_condition(routes, :n, :int8, 1, :condition)
      all = {:ok, Enum.to_list(1..5_000), [:condition]}
      assert routes |> Routes.affected(:n, :int8, "1") |> sorted() == all
      assert routes |> Routes.affected(:n, [:int8, :text], "1") |> sorted() == all

      many = Routes.affected_many(routes, [{:n, :int8, "2"}, {:n, :int8, "1"}, {:n, :int8, "3"}])
      assert Enum.map(many, &sorted/1) == [{:ok, [:cold], []}, all, {:ok, [], []}]

      for id <- 1..4_999, do: Routes.remove(routes, :n, :int8, 1, id)
      assert Routes.affected(routes, :n, :int8, "1") == {:ok, [5_000], [:condition]}
    end
  end

  describe "an index with a path" do
    @describetag :tmp_dir

    test "has its routes at once when it is opened again", %{tmp_dir: dir} do
      path = Path.join(dir, "index")

      for {keys, durability} <- [canonical: :os, canonical: :memory, exact: :sync] do
        options = [keys: keys, parser: parser(), durability: durability, num_lanes: 4]
        {:ok, routes} = Routes.open(path, options)

        for name <- @lasting, id <- @lasting do
          Routes.add(routes, name, :int8, 1, id)
          Routes.add_condition(routes, name, :int8, 2, id)
        end

        assert Routes.close(routes) == :ok
        {:ok, routes} = Routes.open(path, options)

        for name <- @lasting do
          {:ok, ids, []} = Routes.affected(routes, name, :int8, "1")
          assert same?(ids, @lasting)
          {:ok, [], conditions} = Routes.affected(routes, name, :int8, "2")
          assert same?(conditions, @lasting)
          {ids, conditions} = Routes.all(routes, name)
          assert same?(ids, @lasting) and same?(conditions, @lasting)
        end

        assert same?(Routes.namespaces(routes), @lasting)
        assert Routes.close(routes) == :ok
        File.rm_rf!(path)
      end
    end

    test "doesn't bring back what was dropped", %{tmp_dir: dir} do
      path = Path.join(dir, "index")
      {:ok, routes} = Routes.open(path)
      for name <- [:dropped, :kept, :again], do: add_all(routes, name, 1, 1..1_000)
      for name <- [:dropped, :again], do: assert(Routes.drop(routes, name) == :ok)
      Routes.add(routes, :again, :int8, 1, :new)
      assert Routes.close(routes) == :ok

      {:ok, routes} = Routes.open(path)
      assert Enum.sort(Routes.namespaces(routes)) == [:again, :kept]
      assert Routes.affected(routes, :dropped, :int8, "1") == {:ok, [], []}
      assert Routes.affected(routes, :again, :int8, "1") == {:ok, [:new], []}

      for {name, n} <- [dropped: 0, again: 1, kept: 1_000] do
        assert {name, Routes.count(routes, name)} == {name, n}
        assert length(elem(Routes.all(routes, name), 0)) == n
      end

      assert Routes.close(routes) == :ok
    end

    test "refuses terms that would mean nothing later, and finds nothing of them", %{tmp_dir: dir} do
      {:ok, routes} = Routes.open(Path.join(dir, "index"))
      lasting = ~r/would mean nothing after a restart/

      for term <- passing() do
        for {name, target} <- [{:n, term}, {term, :shape}],
            add <- [&Routes.add/5, &Routes.add_condition/5] do
          assert_raise ArgumentError, lasting, fn -> add.(routes, name, :int8, 1, target) end
        end

        assert Routes.remove(routes, :n, :int8, 1, term) == :ok
        assert Routes.remove_condition(routes, term, :int8, 1, :condition) == :ok
        assert Routes.affected(routes, term, :int8, "1") == {:ok, [], []}
        assert Routes.affected_many(routes, [{term, :int8, "1"}]) == [{:ok, [], []}]
        assert {Routes.all(routes, term), Routes.count(routes, term)} == {{[], []}, 0}
        assert Routes.drop(routes, term) == :ok
      end

      assert Routes.namespaces(routes) == []
      assert Routes.close(routes) == :ok
    end
  end

  test "bad options are refused" do
    assert {:error, %Error{reason: :invalid_option}} = Routes.open(:memory, lanes: 8)
    assert {:error, %Error{reason: :invalid_argument}} = Routes.open("")

    for {options, message} <- [
          {[keys: :bogus], ~r/keys: must be :canonical or :exact, got: :bogus/},
          {[keys: nil], ~r/keys: must be/},
          {[keys: :exact], ~r/keys: :exact takes a parser:/},
          {[parser: :bogus], ~r/parser: must be a function of two arguments, got: :bogus/},
          {[parser: & &1], ~r/parser: must be a function of two arguments/}
        ] do
      assert_raise ArgumentError, message, fn -> Routes.open(:memory, options) end
      assert_raise ArgumentError, message, fn -> Routes.new(memory_index(), options) end
    end

    assert_raise ArgumentError, fn -> Routes.new(memory_index(), lanes: 8) end
    assert_raise Error, fn -> Routes.new(:no_such_index) end
  end

  @tag :tmp_dir
  test "bad options leave no index open", %{tmp_dir: dir} do
    path = Path.join(dir, "index")

    for options <- [[keys: :bogus], [keys: :exact], [parser: :bogus]] do
      assert_raise ArgumentError, fn -> Routes.open(path, options) end
      refute File.exists?(path)
    end
  end

  test "a named index is used by its name" do
    start_supervised!({LsmIndex, name: __MODULE__.Named, path: :memory})
    Routes.add(Routes.new(__MODULE__.Named), :n, :int8, 1, :shape)
    assert Routes.affected(Routes.new(__MODULE__.Named), :n, :int8, "1") == {:ok, [:shape], []}
  end

  test "a closed index refuses changes and raises for reads" do
    routes = memory_routes()
    add_all(routes, :n, 1, [:a])
    assert {Routes.close(routes), Routes.close(routes)} == {:ok, :ok}

    for change <- [
          &Routes.add/5,
          &Routes.remove/5,
          &Routes.add_condition/5,
          &Routes.remove_condition/5
        ] do
      assert {:error, %Error{reason: :closed}} = change.(routes, :n, :int8, 1, :a)
    end

    assert {:error, %Error{reason: :closed}} = Routes.drop(routes, :n)
    assert_raise Error, fn -> Routes.affected(routes, :n, :int8, "1") end
    assert_raise Error, fn -> Routes.affected(routes, :n, [:int8, :text], "1") end
    assert_raise Error, fn -> Routes.affected_many(routes, [{:n, :int8, "1"}]) end
    assert_raise Error, fn -> Routes.all(routes, :n) end
    assert_raise Error, fn -> Routes.count(routes, :n) end
    assert_raise Error, fn -> Routes.namespaces(routes) end
  end
end
