defmodule LsmIndex.Compactor do
  @moduledoc false
  # Does the background work of indexes: the NIF sends `{:lsm_index_work, ref}` when a lane of an
  # index needs work, and this process calls `work_step`, one bounded piece on a dirty scheduler,
  # until nothing is left. The indexes that wait take turns, and between two pieces the process
  # reads its mailbox. Where there is a pace (`LsmIndex.set_pace/1`), pieces wait for their time.
  #
  # An index with an owner has a compactor of its own, linked to the owner. Should the owner be
  # killed, so that it cannot close its index, the compactor's end closes it; while the owner lives
  # it starts a successor. Should both be killed at once, the index is closed by the destructor of
  # its resource, as soon as the last struct that holds it is garbage.
  #
  # All indexes without owner share the process registered under this module's name. It
  # hibernates when there is no work, so that its heap keeps no dropped index alive.

  use GenServer, shutdown: 60_000

  alias LsmIndex.{Error, Native, Telemetry}
  require Logger

  # After a failure, a full disk say, the work is tried again.
  @retry_ms 5_000

  @doc "Starts the shared compactor, or one for the index that the calling process owns."
  @spec start_link(:shared | Native.ref()) :: GenServer.on_start()
  def start_link(:shared), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)
  def start_link(ref), do: GenServer.start_link(__MODULE__, %{ref: ref, owner: self()})

  @doc "Hands an index without owner to the shared compactor."
  @spec share(Native.ref()) :: {:ok, pid} | {:error, Error.t()}
  def share(ref) do
    with pid when is_pid(pid) <- Process.whereis(__MODULE__),
         :ok <- Native.set_compactor(ref, pid) do
      {:ok, pid}
    else
      nil -> {:error, not_started()}
      {:error, native} -> {:error, Error.from_native(native)}
    end
  end

  @doc "Runs the waiting twin of a write that found its lane full, and reports the stall."
  @spec stalled(LsmIndex.t(), atom, (... -> answer)) :: answer when answer: term
  def stalled(%LsmIndex{ref: ref, path: path, owner: owner}, operation, wait) do
    # A shared compactor that was restarted does not know the index yet.
    with nil <- owner, {:ok, pid} <- share(ref), do: send(pid, {:lsm_index_work, ref})

    Telemetry.span([:stall], wait, fn _ -> {%{}, %{path: path, operation: operation}} end)
  end

  @spec not_started() :: Error.t()
  def not_started, do: Error.new(:not_started, "the application :lsm_index is not started")

  @impl true
  def init(own) do
    Process.flag(:trap_exit, true)

    with %{ref: ref} <- own do
      Native.set_compactor(ref, self())
      # What a predecessor was told, or an earlier VM left, is told to nobody again.
      send(self(), {:lsm_index_work, ref})
    end

    {:ok, %{own: own, waiting: :queue.new()}}
  end

  @impl true
  def handle_info({:lsm_index_work, ref}, %{waiting: waiting} = state) do
    cond do
      :queue.member(ref, waiting) -> {:noreply, state}
      :queue.is_empty(waiting) -> continue(%{state | waiting: :queue.in(ref, waiting)})
      true -> {:noreply, %{state | waiting: :queue.in(ref, waiting)}}
    end
  end

  def handle_info(:step, %{waiting: waiting} = state) do
    case :queue.out(waiting) do
      {{:value, ref}, rest} ->
        {waiting, pause} = step(ref, rest)
        continue(%{state | waiting: waiting}, pause)

      {:empty, _waiting} ->
        {:noreply, state}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{own: nil}), do: :ok

  def terminate(_reason, %{own: %{ref: ref, owner: owner}}) do
    if not Process.alive?(owner), do: Native.close(ref)
  end

  defp continue(%{waiting: waiting} = state, pause \\ 0) do
    if :queue.is_empty(waiting) do
      {:noreply, state, :hibernate}
    else
      if pause > 0, do: Process.send_after(self(), :step, pause), else: send(self(), :step)
      {:noreply, state}
    end
  end

  # Does a piece of an index's work; gives the indexes that wait then, and for how long they have to,
  # in milliseconds.
  defp step(ref, rest) do
    case Native.work_step(ref) do
      :more -> {:queue.in(ref, rest), 0}
      :done -> {rest, 0}
      {:wait, pause} -> {:queue.in_r(ref, rest), pause}
      {:error, native} -> {failed(ref, Error.from_native(native), rest), 0}
    end
  end

  defp failed(_ref, %Error{reason: :closed}, rest), do: rest

  # There is no work that could be done. That this is so is told here, as who wrote may not tell.
  defp failed(_ref, %Error{reason: :poisoned} = error, rest) do
    Logger.error("lsm_index: #{error.message}")
    Telemetry.execute([:poisoned], %{}, %{error: error})
    rest
  end

  defp failed(ref, error, rest) do
    Logger.error("lsm_index: background work failed and will be tried again: #{error.message}")
    Telemetry.execute([:compactor, :error], %{}, %{error: error})
    Process.send_after(self(), {:lsm_index_work, ref}, @retry_ms)
    rest
  end
end
