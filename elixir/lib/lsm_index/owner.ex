defmodule LsmIndex.Owner do
  @moduledoc false
  # The process that owns an opened index: it opens it, closes it, and is linked to the index's
  # compactor. Reads and writes do not pass through it.
  #
  # `open/2` starts one for the calling process and closes the index when that process dies; an
  # index in memory needs none, it is freed as garbage. `start_link/3` starts one in a supervision
  # tree, under a name. Either way it traps exits, so however it ends, the index is closed and what
  # is in memory written out. Only killed brutally it cannot do that: then its compactor, which is
  # linked to it, closes the index (see there), and whoever is started under the same name next
  # waits for that.

  use GenServer, restart: :temporary, shutdown: 60_000

  alias LsmIndex.{Compactor, Error, Names, Native, Options, Telemetry}
  require Logger

  @spec open(Options.location(), Options.t()) :: {:ok, LsmIndex.t()} | {:error, Error.t()}
  def open(:memory, options) do
    with {:ok, ref, num_lanes} <- open_ref(:memory, options),
         {:ok, _compactor} <- Compactor.share(ref) do
      {:ok,
       %LsmIndex{ref: ref, path: :memory, num_lanes: num_lanes, durability: :memory, owner: nil}}
    end
  end

  def open(path, options) do
    # The file work is done in a call and not in init, or opens would wait for each other.
    with supervisor when is_pid(supervisor) <- Process.whereis(LsmIndex.Owners),
         {:ok, owner} <- DynamicSupervisor.start_child(supervisor, {__MODULE__, {:for, self()}}) do
      GenServer.call(owner, {:open, path, options}, :infinity)
    else
      nil -> {:error, Compactor.not_started()}
    end
  end

  @spec start_link({:for, pid}) :: GenServer.on_start()
  def start_link({:for, client}), do: GenServer.start_link(__MODULE__, {:for, client})

  @spec start_link(atom, Options.location(), Options.t()) :: GenServer.on_start()
  def start_link(name, path, options) do
    GenServer.start_link(__MODULE__, {:named, name, path, options}, name: name)
  end

  @doc "Closes the index and returns when its owner is gone. Of an index already closed: `:ok`."
  @spec close(LsmIndex.t()) :: :ok | {:error, Error.t()}
  def close(%LsmIndex{owner: owner, ref: ref}) do
    monitor = Process.monitor(owner)

    result =
      try do
        GenServer.call(owner, :close, :infinity)
      catch
        :exit, _reason -> Error.wrap(Native.close(ref))
      end

    receive do
      {:DOWN, ^monitor, :process, _owner, _reason} -> result
    end
  end

  @impl true
  def init({:for, client}) do
    Process.flag(:trap_exit, true)
    Process.monitor(client)
    {:ok, %{name: nil, index: nil, compactor: nil}}
  end

  def init({:named, name, path, options}) do
    Process.flag(:trap_exit, true)

    # A predecessor that was killed has left its index to its compactor, which may not be done.
    with {:ok, %LsmIndex{ref: ref}} <- Names.fetch(name), do: Native.close(ref)

    case open_index(path, options) do
      {:ok, index, compactor} ->
        Names.register(name, index)
        {:ok, %{name: name, index: index, compactor: compactor}}

      {:error, error} ->
        {:stop, error}
    end
  end

  @impl true
  def handle_call({:open, path, options}, _from, state) do
    case open_index(path, options) do
      {:ok, index, compactor} ->
        {:reply, {:ok, index}, %{state | index: index, compactor: compactor}}

      {:error, error} ->
        {:stop, :normal, {:error, error}, state}
    end
  end

  def handle_call(:close, _from, state) do
    {:stop, :normal, close_index(state), %{state | index: nil}}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, _client, _reason}, state) do
    {:stop, :normal, state}
  end

  def handle_info({:EXIT, compactor, _reason}, %{compactor: compactor, index: index} = state) do
    {:ok, successor} = Compactor.start_link(index.ref)
    {:noreply, %{state | compactor: successor}}
  end

  def handle_info({:EXIT, _process, reason}, state), do: {:stop, reason, state}
  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{index: nil}), do: :ok

  def terminate(_reason, %{index: index} = state) do
    with {:error, error} <- close_index(state) do
      Logger.error("lsm_index: closing #{inspect(index)} failed: #{error.message}")
    end
  end

  defp open_index(path, options) do
    Telemetry.span([:open, :stop], fn -> open_native(path, options) end, fn
      {:ok, index, _compactor} -> {%{}, Map.take(index, [:path, :num_lanes])}
      {:error, _error} -> nil
    end)
  end

  defp open_native(path, options) do
    with {:ok, ref, num_lanes} <- open_ref(path, options),
         {:ok, compactor} <- Compactor.start_link(ref) do
      index = %LsmIndex{
        ref: ref,
        path: path,
        num_lanes: num_lanes,
        durability: options.durability,
        owner: self()
      }

      report_recovery(index)
      {:ok, index, compactor}
    end
  end

  defp report_recovery(%LsmIndex{path: path, ref: ref}) do
    %{recovery: recovery} = Native.stats(ref)
    {place, counts} = Map.split(recovery, [:torn, :dropped])

    if place.torn do
      Logger.warning("lsm_index: the end of the log was torn and is cut off: #{lost(place.torn)}")
    end

    for bytes <- Enum.take(place.dropped, 10) do
      Logger.error("lsm_index: a damaged part of the log was left out: #{lost(bytes)}")
    end

    if counts.dropped_total > 10 do
      Logger.error("lsm_index: #{counts.dropped_total} parts of the log were left out in all")
    end

    if counts.batches > 0 or place.torn != nil or place.dropped != [] do
      Telemetry.execute([:recovery, :stop], counts, Map.put(place, :path, path))
    end
  end

  defp lost(%{path: path, offset: offset, bytes: bytes}),
    do: "#{bytes} bytes from byte #{offset} of #{path}"

  defp open_ref(:memory, options) do
    options = Options.native(options, :memory)

    case Native.new_memory(options) do
      {:error, native} -> {:error, Error.from_native(native)}
      ref -> {:ok, ref, options.num_lanes}
    end
  end

  defp open_ref(path, options) do
    with {:ok, ref} <- Native.open(path, Options.native(options, path)),
         %{num_lanes: num_lanes} <- Native.stats(ref) do
      {:ok, ref, num_lanes}
    else
      {:error, native} -> {:error, Error.from_native(native)}
    end
  end

  defp close_index(%{name: name, index: index}) do
    if name, do: Names.unregister(name)

    Telemetry.span([:close, :stop], fn -> Error.wrap(Native.close(index.ref)) end, fn result ->
      {%{}, %{path: index.path, result: result}}
    end)
  end
end
