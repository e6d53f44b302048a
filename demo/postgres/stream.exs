defmodule Demo.Postgres.Stream do
  @moduledoc """
  The programs of PostgreSQL that run beside the routing: `pg_recvlogical`, whose output is the
  stream of changes, and `pgbench`, which causes them. Both are ports of the process that starts
  them, which gets their output as messages.
  """

  alias Demo.TestDecoding

  @doc "Receives the changes of a replication slot, from where it stands."
  @spec receive_changes(slot :: String.t()) :: port()
  def receive_changes(slot) do
    start("pg_recvlogical", [
      "--dbname=#{System.fetch_env!("PGDATABASE")}",
      "--slot=#{slot}",
      "--start",
      "--no-loop",
      "--file=-",
      "--option=skip-empty-xacts=1"
    ])
  end

  @doc "Lets several clients run the transactions of a script for some seconds."
  @spec load(script :: Path.t(), seconds :: pos_integer(), seed :: non_neg_integer()) :: port()
  def load(script, seconds, seed) do
    start(
      "pgbench",
      [
        "--no-vacuum",
        "--client=4",
        "--time=#{seconds}",
        "--random-seed=#{seed}",
        "--file=#{script}"
      ],
      [:stderr_to_stdout]
    )
  end

  @doc "Asks a program to end. It still says that it did, with its exit status."
  @spec interrupt(port()) :: :ok
  def interrupt(port) do
    with {:os_pid, pid} <- Port.info(port, :os_pid),
         do: System.cmd("kill", ["-TERM", "#{pid}"], stderr_to_stdout: true)

    :ok
  end

  @doc "The events that have come, with what is the beginning of the next one."
  @spec events(TestDecoding.reader(), binary()) :: {[TestDecoding.event()], TestDecoding.reader()}
  defdelegate events(reader, data), to: TestDecoding, as: :feed

  @doc "Runs psql to its end, and gives what it printed: without titles, columns apart by `|`."
  @spec psql!([String.t()], keyword()) :: String.t()
  def psql!(arguments, options \\ []) do
    standard = ~w(--no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1)

    case System.cmd("psql", standard ++ arguments, options) do
      {output, 0} -> output
      {output, status} -> raise "psql ended with #{status}: #{output}"
    end
  end

  defp start(program, arguments, options \\ []) do
    path = System.find_executable(program) || raise "#{program} is not on the PATH"
    Port.open({:spawn_executable, path}, [:binary, :exit_status, {:args, arguments} | options])
  end
end
