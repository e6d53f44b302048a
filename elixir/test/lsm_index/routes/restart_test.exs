defmodule LsmIndex.Routes.RestartTest do
  # What a service needs after a restart: how far the index has seen, and to put it right.
  use ExUnit.Case, async: true

  alias LsmIndex.Routes

  test "a reconciliation takes what is there and what should be, conditions too" do
    {:ok, routes} = Routes.open(:memory)
    for n <- 1..2_500, do: :ok = Routes.add(routes, {1, "id"}, :int8, n, "shape-#{n}")
    :ok = Routes.add_condition(routes, {1, "id"}, :int8, 1, 17)
    :ok = Routes.add_condition(routes, {1, "id"}, :int8, 2, 18)
    :ok = Routes.add(routes, :gone, :text, "a", "shape")
    {:ok, count} = LsmIndex.load(routes.index, [{"the index's own", 1}])
    assert count == 1

    wanted =
      Stream.concat([
        for(n <- 1..2_000, do: {{1, "id"}, :int8, n, "shape-#{n}"}),
        [{:condition, {1, "id"}, :int8, 1, 17}, {:condition, {1, "id"}, :int8, 3, 19}],
        # Named twice, and spelled otherwise.
        [{{1, "id"}, :int8, "07", "shape-7"}, {{2, "id"}, :uuid, <<0::128>>, :new}]
      ])

    assert Routes.reconcile(routes, wanted) == {:ok, %{kept: 2_002, added: 2, removed: 502}}
    assert Routes.reconcile(routes, wanted) == {:ok, %{kept: 2_004, added: 0, removed: 0}}
    assert Routes.affected(routes, {1, "id"}, :int8, "1") == {:ok, ["shape-1"], [17]}
    assert Routes.affected(routes, {1, "id"}, :int8, "2") == {:ok, ["shape-2"], []}
    assert Routes.affected(routes, {1, "id"}, :int8, "3") == {:ok, ["shape-3"], [19]}
    assert Routes.affected(routes, {1, "id"}, :int8, "2001") == {:ok, [], []}
    assert Enum.sort(Routes.namespaces(routes)) == [{1, "id"}, {2, "id"}]
    assert LsmIndex.get(routes.index, "the index's own") == [1]

    assert_raise ArgumentError, ~r/nil is the name of no namespace/, fn ->
      Routes.reconcile(routes, [{nil, :int8, 1, "shape"}])
    end

    assert Routes.reconcile(routes, []) == {:ok, %{kept: 0, added: 0, removed: 2_003}}
    assert Routes.namespaces(routes) == []
    :ok = Routes.close(routes)
    assert {:error, %LsmIndex.Error{reason: :closed}} = Routes.reconcile(routes, [])
  end

  test "what others change beside a reconciliation stays as they left it" do
    {:ok, routes} = Routes.open(:memory)
    for n <- 1..2_000, do: :ok = Routes.add(routes, :ids, :int8, n, n)

    # It has begun by the time the first route is asked for.
    wanted =
      Stream.flat_map(1..1_000, fn n ->
        if n == 1 do
          for other <- 1_001..1_500 do
            :ok = Routes.add(routes, :ids, :int8, other, other)
            :ok = Routes.remove(routes, :ids, :int8, other + 500, other + 500)
            :ok = Routes.add(routes, :others, :int8, other, "came meanwhile")
          end
        end

        [{:ids, :int8, n, n}]
      end)

    assert Routes.reconcile(routes, wanted) == {:ok, %{kept: 1_000, added: 0, removed: 0}}
    assert Routes.count(routes, :ids) == 1_500
    assert Routes.count(routes, :others) == 1
    # It is over: nothing of that is remembered.
    wanted = for n <- 1..1_000, do: {:ids, :int8, n, n}
    assert Routes.reconcile(routes, wanted) == {:ok, %{kept: 1_000, added: 0, removed: 1_000}}
  end

  test "a reconciliation whose source fails removes nothing" do
    {:ok, routes} = Routes.open(:memory)
    :ok = Routes.add(routes, :ids, :int8, 1, 1)
    failing = Stream.map(1..2_000, fn n -> {:ids, :int8, (n < 500 && n) || raise("gone"), n} end)
    assert_raise RuntimeError, "gone", fn -> Routes.reconcile(routes, failing) end
    assert Routes.affected(routes, :ids, :int8, "1") == {:ok, [1], []}
    assert Routes.count(routes, :ids) == 1

    # It is over: what it knew of the routes is memory no more.
    for n <- 1..2_000, do: Routes.add(routes, :ids, :int8, n, n)
    before = LsmIndex.memory(routes.index).tables
    assert_raise RuntimeError, "gone", fn -> Routes.reconcile(routes, failing) end
    assert LsmIndex.memory(routes.index).tables == before
  end

  test "what others remove beside a reconciliation is added again if it is named then" do
    {:ok, routes} = Routes.open(:memory)
    for n <- 1..2_000, do: :ok = Routes.add(routes, :ids, :int8, n, "shape-#{n}")

    wanted =
      Stream.map(1..2_000, fn n ->
        if n == 1 do
          for k <- 1..1_000, do: :ok = Routes.remove(routes, :ids, :int8, k, "shape-#{k}")
        end

        {:ids, :int8, n, "shape-#{n}"}
      end)

    assert Routes.reconcile(routes, wanted) == {:ok, %{kept: 1_000, added: 1_000, removed: 0}}
    assert Routes.count(routes, :ids) == 2_000
  end

  @tag :tmp_dir
  test "a stamp is there after a restart", %{tmp_dir: dir} do
    path = Path.join(dir, "routes")
    {:ok, routes} = Routes.open(path)
    assert Routes.stamp(routes) == nil
    :ok = Routes.put_stamp(routes, {:lsn, 7})
    :ok = Routes.add(routes, :ids, :int8, 1, "shape")
    :ok = Routes.put_stamp(routes, {:lsn, 2 ** 64})
    assert Routes.namespaces(routes) == [:ids]

    assert {:error, %LsmIndex.Error{reason: :invalid_argument}} =
             Routes.put_stamp(routes, String.duplicate("x", 192))

    assert {:error, %LsmIndex.Error{reason: :invalid_argument}} = Routes.put_stamp(routes, self())
    :ok = Routes.close(routes)
    {:ok, routes} = Routes.open(path)
    assert Routes.stamp(routes) == {:lsn, 2 ** 64}
    assert_raise LsmIndex.Error, fn -> Routes.close(routes) && Routes.stamp(routes) end
  end

  # As a VM that is killed leaves it: a copy of the directory of an open index.
  defp after_a_crash(path, look) do
    copy = "#{path}-#{System.unique_integer([:positive])}"
    File.cp_r!(path, copy)
    {:ok, routes} = Routes.open(copy)
    seen = look.(routes)
    :ok = Routes.close(routes)
    seen
  end

  @tag :tmp_dir
  test "without the log, a stamp lasts from the next flush on", %{tmp_dir: dir} do
    path = Path.join(dir, "routes")
    seen = fn -> after_a_crash(path, &Routes.stamp/1) end
    {:ok, routes} = Routes.open(path, durability: :memory)
    :ok = Routes.put_stamp(routes, 1)
    assert {Routes.stamp(routes), seen.()} == {1, nil}
    :ok = LsmIndex.flush(routes.index)
    assert {Routes.stamp(routes), seen.()} == {1, 1}
    :ok = Routes.put_stamp(routes, 2)
    assert seen.() == 1
    :ok = LsmIndex.sync(routes.index)
    assert seen.() == 2
    :ok = LsmIndex.put_stamp(routes.index, 3, durability: :os)
    assert seen.() == 3
  end

  @tag :tmp_dir
  test "changes through a handle have its durability", %{tmp_dir: dir} do
    path = Path.join(dir, "routes")
    {:ok, routes} = Routes.open(path, durability: :memory)
    logged = Routes.with_durability(routes, :os)
    :ok = Routes.add(routes, :ids, :int8, 1, "in memory")
    :ok = Routes.add(logged, :ids, :int8, 2, "in the log")
    :ok = Routes.put_stamp(logged, :logged)
    both = fn of -> for n <- ["1", "2"], do: Routes.affected(of, :ids, :int8, n) end
    assert both.(routes) == [{:ok, ["in memory"], []}, {:ok, ["in the log"], []}]
    assert after_a_crash(path, both) == [{:ok, [], []}, {:ok, ["in the log"], []}]
    assert after_a_crash(path, &Routes.stamp/1) == :logged
    :ok = Routes.drop(logged, :ids)
    assert after_a_crash(path, &Routes.namespaces/1) == []
    assert_raise ArgumentError, fn -> Routes.with_durability(routes, :never) end
  end
end
