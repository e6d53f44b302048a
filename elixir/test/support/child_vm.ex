defmodule LsmIndex.ChildVM do
  @moduledoc false
  # Another VM with this build, for what cannot be done to the one that runs the tests: killing it,
  # taking its files or its disk away. It runs what it is asked to, one call after another in one
  # process, and ends when the one that started it closes the port or dies.
  #
  # Parent and child talk through the file descriptors 3 and 4, which nothing else writes to: what a
  # process of the child has told the parent is in the pipe when `tell/1` returns, so the child can be
  # killed right after it.

  import ExUnit.Assertions, only: [flunk: 1]

  @enforce_keys [:port, :os_pid]
  defstruct @enforce_keys

  @start_ms 60_000

  @doc """
  Starts a VM. `through:` is a shell command that runs first; its last word has to be `exec "$@"`,
  with what it is to run in the arguments.
  """
  def start(options \\ []) do
    elixir = System.find_executable("elixir")

    arguments = [
      elixir,
      "--erl",
      "-noinput",
      "-pa",
      Application.app_dir(:lsm_index, "ebin"),
      "-e",
      "#{inspect(__MODULE__)}.main()"
    ]

    [command | arguments] =
      case Keyword.fetch(options, :through) do
        {:ok, script} -> [System.find_executable("sh"), "-c", script, "sh" | arguments]
        :error -> arguments
      end

    port =
      Port.open({:spawn_executable, command}, [
        :binary,
        :nouse_stdio,
        :exit_status,
        packet: 4,
        args: arguments
      ])

    %__MODULE__{port: port, os_pid: receive_term(port, :started)}
  end

  @doc "What the function gives in the child; an exception there is raised here."
  def call(%__MODULE__{port: port} = child, module, function, arguments) do
    cast(child, module, function, arguments)

    case receive_term(port, :answer) do
      {:ok, answer} -> answer
      {:raised, exception} -> raise exception
    end
  end

  @doc "As `call/4`, but does not wait for the answer."
  def cast(%__MODULE__{port: port}, module, function, arguments) do
    Port.command(port, :erlang.term_to_binary({module, function, arguments}))
  end

  @doc "Kills the child as the system would, so that nothing of it can react. It dies a moment later."
  def kill(%__MODULE__{os_pid: os_pid}) do
    {_output, 0} = System.cmd("sh", ["-c", "kill -9 #{os_pid}"], stderr_to_stdout: true)
    :ok
  end

  @doc "Kills the child and waits until the system is done with it."
  def kill_and_wait(%__MODULE__{port: port} = child) do
    kill(child)

    receive do
      {^port, {:exit_status, status}} -> status
    after
      @start_ms -> flunk("the child VM #{child.os_pid} does not die")
    end
  end

  @doc "Lets the child halt, without a chance to close anything, and waits for that."
  def stop(%__MODULE__{port: port} = child) do
    cast(child, System, :halt, [0])

    receive do
      {^port, {:exit_status, 0}} -> :ok
    after
      @start_ms -> flunk("the child VM #{child.os_pid} does not halt")
    end
  end

  defp receive_term(port, kind) do
    receive do
      {^port, {:data, <<131, _::binary>> = data}} ->
        case :erlang.binary_to_term(data) do
          {^kind, term} -> term
          other -> flunk("the child VM told #{inspect(other)} and not its #{kind}")
        end

      {^port, {:exit_status, status}} ->
        flunk("the child VM ended with status #{status}")
    after
      @start_ms -> flunk("no #{kind} from the child VM")
    end
  end

  ## In the child

  @doc "Tells the parent something, from any process of the child."
  def tell(bytes) when is_binary(bytes), do: Port.command(__MODULE__, bytes)

  @doc false
  def main do
    # With the port its owner would die; this way it halts the VM instead.
    Process.flag(:trap_exit, true)
    port = Port.open({:fd, 3, 4}, [:binary, packet: 4])
    Process.register(port, __MODULE__)
    {:ok, _started} = Application.ensure_all_started(:lsm_index)
    tell_term({:started, System.pid()})
    serve(port)
  end

  defp serve(port) do
    receive do
      {^port, {:data, data}} ->
        {module, function, arguments} = :erlang.binary_to_term(data)
        tell_term({:answer, answer(module, function, arguments)})
        serve(port)

      {:EXIT, ^port, _reason} ->
        System.halt(0)

      {:EXIT, _other, _reason} ->
        serve(port)
    end
  end

  defp answer(module, function, arguments) do
    {:ok, apply(module, function, arguments)}
  rescue
    exception -> {:raised, exception}
  end

  defp tell_term(term), do: term |> :erlang.term_to_binary() |> tell()

  @doc "Takes all file descriptors of the child but so many; their number."
  def take_files_but(left) do
    # A module that is loaded when it is first called is a file too.
    for application <- [:lsm_index, :elixir, :logger] do
      {:ok, modules} = :application.get_key(application, :modules)
      :ok = :code.ensure_modules_loaded(modules)
    end

    {given_back, taken} = Enum.split(take_files([]), left)
    Enum.each(given_back, &:file.close/1)
    Process.put(:taken_files, taken)
    length(taken)
  end

  defp take_files(taken) do
    case :file.open("/dev/null", [:read, :raw]) do
      {:ok, file} -> take_files([file | taken])
      {:error, :emfile} -> taken
    end
  end

  @doc "Gives back what `take_files_but/1` took."
  def give_files_back, do: :taken_files |> Process.delete() |> Enum.each(&:file.close/1)
end
