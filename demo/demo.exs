# Routes a recorded PostgreSQL stream to a million shapes, on LsmIndex and on ETS: `make demo`.
#
# Every answer of LsmIndex is compared with that of ETS, a sample with what trying every clause
# finds; then all of it is routed once more through the indexes as they are read back from disk.
# SHAPES=50000 makes a smaller run. Exits with 1, naming the change, if any answer differs.

for file <- ~w(test_decoding shapes naive ets_routes lsm_routes report) do
  Code.require_file("#{file}.exs", __DIR__)
end

defmodule Demo do
  alias Demo.{EtsRoutes, LsmRoutes, Naive, Report, Shapes, TestDecoding}

  @columns [{"project", :int4}, {"account", :int8}, {"assignee", :text}, {"owner", :uuid}]
  @recording Path.join(__DIR__, "changes.txt.gz")
  @sample 200
  @passes 5

  def main do
    directory = Path.join(System.tmp_dir!(), "lsm_index_demo.#{System.pid()}")

    result =
      try do
        run(directory, "SHAPES" |> System.get_env("1000000") |> String.to_integer())
      after
        File.rm_rf!(directory)
      end

    with {:error, message} <- result do
      IO.puts(:stderr, message)
      exit({:shutdown, 1})
    end
  end

  defp run(directory, count) do
    Report.step("reading the recording")
    changes = @recording |> File.read!() |> :zlib.gunzip() |> TestDecoding.changes()
    routed = Enum.map(changes, &routed_rows/1)

    Report.step("making #{Report.number(count)} shapes")
    shapes = Shapes.build(@columns, List.flatten(routed), count)

    Report.step("loading them into ETS")
    ets = EtsRoutes.new(@columns)
    {ets_load, :ok} = :timer.tc(fn -> EtsRoutes.load(ets, shapes) end)

    Report.step("loading them into LsmIndex")
    lsm = LsmRoutes.open(@columns, directory)
    {lsm_load, :ok} = :timer.tc(fn -> LsmRoutes.load(lsm, shapes) end)
    {lsm_compact, :ok} = :timer.tc(fn -> LsmRoutes.compact(lsm) end)

    Report.step("routing every change, #{@passes} times each")

    [{ets_route, expected}, {lsm_route, answers}] =
      fastest(fn ->
        [route(routed, &EtsRoutes.affected(ets, &1)), route(routed, &LsmRoutes.affected(lsm, &1))]
      end)

    ets_bytes = EtsRoutes.bytes(ets)
    lsm_bytes = LsmRoutes.bytes(lsm)
    EtsRoutes.delete(ets)

    Report.step("trying every clause on #{@sample} changes")
    sample = routed |> Enum.with_index() |> sample()
    naive = Naive.affected(shapes, Enum.map(sample, fn {rows, n} -> {n, rows} end))

    Report.step("closing, opening again, routing every change")
    :ok = LsmRoutes.close(lsm)
    disk_bytes = disk_bytes(directory)
    [{reopen, :ok}] = fastest(fn -> [reopen(directory)] end)
    lsm = LsmRoutes.open(@columns, directory)
    {_time, reopened} = route(routed, &LsmRoutes.affected(lsm, &1))
    :ok = LsmRoutes.close(lsm)

    with :ok <- compare("LsmIndex and ETS", changes, answers, expected),
         :ok <- compare_sample("LsmIndex and the naive matcher", changes, answers, naive),
         :ok <- compare("LsmIndex before and after reopening", changes, reopened, answers) do
      Report.print(%{
        changes: changes,
        rows: routed |> Enum.map(&length/1) |> Enum.sum(),
        matches: answers |> Enum.map(&MapSet.size/1) |> Enum.sum(),
        sample: map_size(naive),
        columns: @columns,
        shapes: Shapes.count(shapes),
        ets: %{load: ets_load, route: ets_route, bytes: ets_bytes, reopen: ets_load},
        lsm: %{
          load: lsm_load,
          compact: lsm_compact,
          route: lsm_route,
          bytes: lsm_bytes,
          disk: disk_bytes,
          reopen: reopen
        }
      })
    end
  end

  # Only what the shapes are about, so that both sides read the same small maps.
  defp routed_rows(change) do
    names = Enum.map(@columns, fn {name, _type} -> name end)
    change |> TestDecoding.rows() |> Enum.map(&Map.take(&1, names))
  end

  # A change affects the shapes of the new row, and those of the old one, which it may leave.
  # A process of its own has a small heap, so that garbage collection weighs little in the time.
  defp route(changes, affected) do
    answer = fn rows -> Enum.reduce(rows, MapSet.new(), &MapSet.union(&2, affected.(&1))) end
    task = Task.async(fn -> :timer.tc(fn -> Enum.map(changes, answer) end) end)
    Task.await(task, :infinity)
  end

  defp reopen(directory) do
    {time, lsm} = :timer.tc(fn -> LsmRoutes.open(@columns, directory) end)
    {time, LsmRoutes.close(lsm)}
  end

  # Of several `{time, answer}`, found in turn and a few times each, the fastest of each.
  defp fastest(measure) do
    runs = for _ <- 1..@passes, do: measure.()
    Enum.zip_with(runs, fn results -> Enum.min_by(results, fn {time, _answer} -> time end) end)
  end

  defp sample(numbered) do
    numbered |> Enum.take_every(max(1, div(length(numbered), @sample))) |> Enum.take(@sample)
  end

  defp compare(what, changes, left, right) do
    [changes, left, right]
    |> Enum.zip()
    |> Enum.with_index()
    |> Enum.find_value(:ok, fn {{change, left, right}, n} ->
      if left != right, do: differ(what, change, n, left, right)
    end)
  end

  defp compare_sample(what, changes, answers, naive) do
    [changes, answers]
    |> Enum.zip()
    |> Enum.with_index()
    |> Enum.find_value(:ok, fn {{change, answer}, n} ->
      right = Map.get(naive, n, answer)
      if answer != right, do: differ(what, change, n, answer, right)
    end)
  end

  defp differ(what, change, n, left, right) do
    {:error,
     """
     #{what} differ at change #{n + 1}:
     #{inspect(change)}
     only the first has  #{inspect(left |> MapSet.difference(right) |> Enum.take(10))}
     only the second has #{inspect(right |> MapSet.difference(left) |> Enum.take(10))}
     """}
  end

  defp disk_bytes(directory) do
    Path.join(directory, "**")
    |> Path.wildcard(match_dot: true)
    |> Enum.map(&File.stat!/1)
    |> Enum.filter(&(&1.type == :regular))
    |> Enum.map(& &1.size)
    |> Enum.sum()
  end
end

Demo.main()
