# One key that leads to many ids, beside ETS in the two forms that have such keys: a bag of
# `{key, id}`, and an ordered set of `{{key, id}}`, which is asked for all ids with `:ets.select`.
#
#     mix run bench/hot_keys.exs
#
# A bag looks through all rows of the key at each insert, which makes a million of them a matter of
# hours: there it is left out. The key lies among 100 000 others with one id each, in an index in
# memory of 16 lanes, so that its lane has some thousand keys besides. Memory is what the ids add to it;
# a single one adds less than what sections are rounded to. `put`, `delete`: one id that is not there,
# then away again.
# `compact`: the lane of the key alone, after such a change.

Code.require_file("support/measure.exs", __DIR__)
Code.require_file("support/table.exs", __DIR__)

defmodule Bench.HotKeys do
  alias Bench.{Measure, Table}

  @others 100_000
  @lanes 16
  @hot "the hot key"

  def run(ids) do
    fn -> measure(ids) end |> Task.async() |> Task.await(:infinity)
  end

  defp measure(n) do
    others = for i <- 1..@others, do: {<<1::32, i::64>>, i}
    {:ok, plain} = LsmIndex.open(:memory, num_lanes: @lanes)
    {:ok, @others} = LsmIndex.load(plain, others)
    :ok = LsmIndex.compact(plain)
    {:ok, index} = LsmIndex.open(:memory, num_lanes: @lanes)
    pairs = for id <- 1..n, do: {@hot, id * 2}
    {:ok, _count} = LsmIndex.load(index, others ++ pairs)
    :ok = LsmIndex.compact(index)
    segments = &LsmIndex.memory(&1).private_segments
    bytes = (segments.(index) - segments.(plain)) / n
    LsmIndex.close(plain)

    bag = table(:bag, others, & &1)
    ordered = table(:ordered_set, others, &{&1})
    word = :erlang.system_info(:wordsize)
    with_bag = n <= 10_000
    bag_bytes = if with_bag, do: fill(bag, pairs, & &1) * word / n
    ordered_bytes = fill(ordered, pairs, &{&1}) * word / n
    bag? = fn subjects -> if with_bag, do: subjects, else: Keyword.delete(subjects, :bag) end

    rounds = if n >= 10_000, do: 10, else: 2_000
    changes = min(rounds * 10, 2_000)
    new = for _ <- 1..changes, do: :rand.uniform(n) * 2 + 1
    each = fn fun -> fn -> Enum.each(new, fun) end end
    spec = [{{{@hot, :"$1"}}, [], [:"$1"]}]

    get =
      Measure.in_turns(
        bag?.(
          lsm: fn -> for _ <- 1..rounds, do: LsmIndex.get(index, @hot) end,
          bag: fn -> for _ <- 1..rounds, do: :ets.lookup(bag, @hot) end,
          ordered: fn -> for _ <- 1..rounds, do: :ets.select(ordered, spec) end
        ),
        rounds,
        3
      )

    member =
      Measure.in_turns(
        bag?.(
          lsm: each.(&LsmIndex.member?(index, @hot, &1)),
          bag: each.(&:ets.match_object(bag, {@hot, &1}, 1)),
          ordered: each.(&:ets.member(ordered, {@hot, &1}))
        ),
        changes,
        3
      )

    change =
      Measure.in_turns(
        bag?.(
          lsm:
            each.(fn id ->
              :ok = LsmIndex.put(index, @hot, id)
              :ok = LsmIndex.delete(index, @hot, id)
            end),
          bag:
            each.(fn id ->
              :ets.insert(bag, {@hot, id})
              :ets.delete_object(bag, {@hot, id})
            end),
          ordered:
            each.(fn id ->
              :ets.insert(ordered, {{@hot, id}})
              :ets.delete(ordered, {@hot, id})
            end)
        ),
        2 * changes,
        3
      )

    compact =
      for i <- 1..5 do
        :ok = LsmIndex.put(index, @hot, n * 2 + 1 + i * 2)
        {_, nanoseconds} = Measure.once(1, fn -> LsmIndex.compact(index) end)
        nanoseconds / 1.0e6
      end

    Table.print(
      "A key with #{n} ids (nanoseconds per call, unless said)",
      ["", "LsmIndex", "ETS bag", "ETS ordered set"],
      [
        ["get, all ids", get.lsm, get[:bag], get.ordered],
        ["member?", member.lsm, member[:bag], member.ordered],
        ["put or delete one id", change.lsm, change[:bag], change.ordered],
        ["memory, bytes per id", if(n >= 100, do: bytes), bag_bytes, ordered_bytes],
        ["compact its lane, ms", Measure.median(compact), nil, nil]
      ]
    )

    LsmIndex.close(index)
    :ets.delete(bag)
    :ets.delete(ordered)
  end

  defp table(type, others, row) do
    table = :ets.new(:rows, [type, :public, read_concurrency: true])
    Enum.each(others, &:ets.insert(table, row.(&1)))
    table
  end

  # Words that the rows of the hot key take.
  defp fill(table, pairs, row) do
    before = :ets.info(table, :memory)
    :ets.insert(table, Enum.map(pairs, row))
    :ets.info(table, :memory) - before
  end
end

IO.puts(
  "Elixir #{System.version()}, OTP #{System.otp_release()}, #{System.schedulers_online()} schedulers"
)

[1, 100, 10_000, 1_000_000]
|> Bench.Measure.sizes("LSM_BENCH_IDS")
|> Enum.each(&Bench.HotKeys.run/1)
