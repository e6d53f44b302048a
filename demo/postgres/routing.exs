defmodule Demo.Postgres.Routing do
  @moduledoc """
  Routes the events of the stream, while shapes come and go between them, and writes down what SQL
  needs to tell whether that was right.

  Changes are numbered from 1. A shape that comes right before change 7 and goes right before
  change 9 was there for the changes 7 and 8; its life is written as 7 and 9. The records themselves
  are not written down: the database kept them, by transaction and place in it.
  """

  alias Demo.Postgres.{Churn, Router}
  alias Demo.TestDecoding

  @files [:streamed, :routed, :life]

  @type t :: map()

  @doc "Starts with the shapes that are there at first; files are made in `directory`."
  @spec new(Churn.t(), Path.t()) :: t()
  def new(churn, directory) do
    files =
      Map.new(@files, fn name ->
        options = [:write, :raw, {:delayed_write, 1_000_000, 5_000}]
        {name, File.open!(Path.join(directory, "#{name}.tsv"), options)}
      end)

    {operations, churn} = Churn.fill(churn, 1)

    routing = %{
      router: Router.new(),
      churn: churn,
      files: files,
      n: 0,
      xid: nil,
      place: 0,
      transactions: 0,
      kinds: %{insert: 0, update: 0, delete: 0},
      added: 0,
      removed: 0,
      churned: 0
    }

    %{shapes(routing, operations) | added: 0, churned: 0}
  end

  @doc "Takes what the stream brings. A change in the table `finish` says that it is over."
  @spec event(TestDecoding.event(), t()) :: {:more | :finished, t()}
  def event({:begin, xid}, routing), do: {:more, %{routing | xid: xid, place: 0}}
  def event(:commit, %{place: 0} = routing), do: {:more, routing}
  def event(:commit, routing), do: {:more, Map.update!(routing, :transactions, &(&1 + 1))}
  def event(%{table: "public.finish"}, routing), do: {:finished, routing}

  def event(%{table: "public.item", kind: kind} = change, routing) do
    n = routing.n + 1
    place = routing.place + 1
    records = TestDecoding.rows(change)
    {operations, churn} = Churn.step(routing.churn, n, hd(records))
    routing = shapes(%{routing | churn: churn}, operations)

    {time, shape_ids} = timed(fn -> affected(routing.router, records) end)

    write(routing, :streamed, line([n, routing.xid, place, kind, time]))
    write(routing, :routed, for(id <- shape_ids, do: line([n, id])))
    kinds = Map.update!(routing.kinds, kind, &(&1 + 1))
    {:more, %{routing | n: n, place: place, kinds: kinds}}
  end

  @doc "Writes down the shapes that are still there, and completes the files."
  @spec close(t()) :: :ok
  def close(routing) do
    for shape <- Churn.alive(routing.churn), do: write_life(routing, shape, routing.n + 1)
    for {_name, file} <- routing.files, do: :ok = File.close(file)
    :ok
  end

  # A change concerns the shapes of the new record, and those of the old one, which it may leave.
  defp affected(router, records) do
    Enum.reduce(records, MapSet.new(), &MapSet.union(&2, Router.affected(router, &1)))
  end

  defp shapes(routing, operations), do: Enum.reduce(operations, routing, &operation/2)

  defp operation({:add, shape, constant}, %{router: router} = routing) do
    {time, router} =
      timed(fn -> Router.add(router, shape.id, shape.field, shape.type, constant) end)

    %{routing | router: router, added: routing.added + 1, churned: routing.churned + time}
  end

  defp operation({:remove, shape, constant}, %{router: router} = routing) do
    {time, router} =
      timed(fn -> Router.remove(router, shape.id, shape.field, shape.type, constant) end)

    write_life(routing, shape, routing.n + 1)
    %{routing | router: router, removed: routing.removed + 1, churned: routing.churned + time}
  end

  # The constant as bytes in hexadecimal digits, which COPY leaves alone.
  defp write_life(routing, shape, died) do
    literal = "\\\\x" <> Base.encode16(shape.literal)
    write(routing, :life, line([shape.id, shape.field, literal, shape.born, died]))
  end

  defp write(routing, name, lines), do: :ok = :file.write(routing.files[name], lines)

  defp line(values), do: [values |> Enum.map(&to_string/1) |> Enum.intersperse(?\t), ?\n]

  defp timed(work) do
    start = System.monotonic_time(:nanosecond)
    result = work.()
    {System.monotonic_time(:nanosecond) - start, result}
  end
end
