# Routes the changes of a PostgreSQL that is at work to shapes that come and go, and lets SQL check
# every answer: `make demo-postgres`, which starts the server (script/with-postgres).
#
# SECONDS of load (25), which ends sooner when CHANGES are routed (no limit); about SHAPES shapes
# (50000); SEED (1) of all random choices. Exits with 1 if a single answer is wrong.

for file <- ~w(test_decoding report postgres/stream postgres/router postgres/churn
               postgres/routing postgres/check postgres/summary) do
  Code.require_file("../#{file}.exs", __DIR__)
end

defmodule Demo.Postgres.Live do
  alias Demo.{Report, TestDecoding}
  alias Demo.Postgres.{Check, Churn, Routing, Stream, Summary}

  # Longer than anything here can take to say a word.
  @patience 60_000

  def main do
    settings = %{
      seconds: setting("SECONDS", 25),
      changes: setting("CHANGES", :infinity),
      shapes: setting("SHAPES", 50_000),
      seed: setting("SEED", 1)
    }

    directory = Path.join(System.fetch_env!("POSTGRES_SCRATCH"), "routing")
    File.mkdir!(directory)

    with [_ | _] = wrong <- run(settings, directory) do
      Enum.each(["wrong:" | wrong], &IO.puts(:stderr, &1))
      exit({:shutdown, 1})
    end
  end

  defp run(settings, directory) do
    Report.step("making the tables")
    # Two in five shapes wait for the same value as another one does.
    pool = max(1000, div(settings.shapes * 2, 5))
    Stream.psql!(["--set=pool=#{pool}", "--file=#{Path.join(__DIR__, "schema.sql")}"])

    Report.step("making #{Report.number(settings.shapes)} shapes")
    :rand.seed(:exsss, settings.seed)
    routing = spellings() |> Churn.new(settings.shapes) |> Routing.new(directory)

    # What waits to be routed is not to be collected over and over.
    Process.flag(:message_queue_data, :off_heap)
    Report.step("routing what #{settings.seconds} seconds of load change, or less")
    receiver = Stream.receive_changes("live")
    load = Stream.load(Path.join(__DIR__, "load.sql"), settings.seconds, settings.seed)
    ports = %{receiver: receiver, load: load, output: ""}
    {routing, time} = route(ports, TestDecoding.reader(), routing, settings.changes, nil)
    Routing.close(routing)

    Report.step("checking with SQL")
    verdict = Check.run(directory)
    Summary.print(settings, routing, time, verdict)
    verdict.wrong
  end

  # Until the stream says that it is over: the time that took, from the first change on.
  defp route(%{receiver: receiver, load: load} = ports, reader, routing, limit, start) do
    receive do
      {^receiver, {:data, data}} ->
        start = start || System.monotonic_time(:microsecond)
        {events, reader} = Stream.events(reader, data)

        case Enum.reduce_while(events, {:more, routing}, &routed/2) do
          {:more, %{n: n} = routing} when n >= limit ->
            Stream.interrupt(load)
            route(Map.put(ports, :stopped, true), reader, routing, :infinity, start)

          {:more, routing} ->
            route(ports, reader, routing, limit, start)

          {:finished, routing} ->
            time = System.monotonic_time(:microsecond) - start
            stop(receiver)
            {routing, time}
        end

      {^receiver, {:exit_status, status}} ->
        raise "pg_recvlogical ended by itself, with #{status}"

      {^load, {:data, data}} ->
        route(%{ports | output: ports.output <> data}, reader, routing, limit, start)

      {^load, {:exit_status, status}} ->
        if status != 0 and not Map.has_key?(ports, :stopped),
          do: raise("pgbench ended with #{status}: #{ports.output}")

        Stream.psql!(["--command=CALL finish()"])
        route(ports, reader, routing, :infinity, start)
    after
      @patience -> raise "the stream fell silent after #{routing.n} changes"
    end
  end

  defp routed(event, {:more, routing}) do
    case Routing.event(event, routing) do
      {:more, _routing} = more -> {:cont, more}
      {:finished, _routing} = finished -> {:halt, finished}
    end
  end

  defp stop(port) do
    Stream.interrupt(port)

    receive do
      {^port, {:exit_status, _status}} -> :ok
    after
      @patience -> raise "pg_recvlogical does not end"
    end
  end

  defp spellings do
    Stream.psql!([
      "--command=SELECT field, encode(convert_to(one, 'UTF8'), 'hex'), " <>
        "encode(convert_to(other, 'UTF8'), 'hex') FROM spelling ORDER BY 1, 2"
    ])
  end

  defp setting(name, default) do
    case System.get_env(name, "") do
      "" ->
        default

      text ->
        case Integer.parse(text) do
          {number, ""} when number > 0 -> number
          _ -> raise ArgumentError, "#{name} must be a whole number above 0, not #{inspect(text)}"
        end
    end
  end
end

Demo.Postgres.Live.main()
