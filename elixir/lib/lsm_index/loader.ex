defmodule LsmIndex.Loader do
  @moduledoc false
  # Feeds an enumerable of {key, id} to the NIF's loader, a chunk at a time. The loader sorts the
  # pairs by lane and writes them to segments, past the overlays: when it holds some millions, and
  # in the end.

  alias LsmIndex.{Compactor, Error, Native, Telemetry}

  @chunk 4_096
  # Pairs, of 16 bytes.
  @most_held 4_194_304
  # What can be wrong with an element.
  @faults [:invalid_argument, :id_out_of_range, :key_too_long]

  @spec load(LsmIndex.t(), Enumerable.t(), pos_integer) ::
          {:ok, non_neg_integer} | {:error, Error.t()}
  def load(%LsmIndex{ref: ref, path: path}, pairs, most_held \\ @most_held) do
    Telemetry.span([:load, :stop], fn -> run(ref, pairs, most_held) end, fn
      {:ok, count} -> {%{count: count}, %{path: path}}
      {:error, _error} -> nil
    end)
  end

  defp run(ref, pairs, most_held) do
    with :ok <- check_enumerable(pairs),
         {:ok, loader} <- begin(ref, most_held),
         :ok <- add_all(loader, pairs),
         do: finish(loader)
  end

  @doc "Whether it can be loaded at all, as far as that can be told beforehand."
  @spec check_enumerable(term) :: :ok | {:error, Error.t()}
  def check_enumerable(pairs) do
    enumerable? =
      case pairs do
        list when is_list(list) -> not List.improper?(list)
        function when is_function(function) -> is_function(function, 2)
        other -> Enumerable.impl_for(other) != nil
      end

    if enumerable? do
      :ok
    else
      message = "load expects an enumerable of pairs, got: #{inspect(pairs, limit: 5)}"
      {:error, Error.new(:invalid_argument, message, %{value: pairs})}
    end
  end

  defp begin(ref, most_held) do
    case Native.load_begin(ref, most_held) do
      {:error, native} -> {:error, Error.from_native(native)}
      loader -> {:ok, loader}
    end
  end

  defp finish(loader), do: write_lanes(fn -> Native.load_step(loader) end)

  defp make_room(loader) do
    with {:ok, _count} <- write_lanes(fn -> Native.load_drain(loader) end), do: :ok
  end

  # Lanes are independent: as many processes as there are cores write them out, each a lane at a
  # time, while others wait for the disk. They are not linked to the caller, who may trap exits
  # and must not find theirs in its mailbox.
  defp write_lanes(step) do
    case Process.whereis(LsmIndex.Tasks) do
      nil -> {:error, Compactor.not_started()}
      supervisor -> write_lanes(step, supervisor, self())
    end
  end

  defp write_lanes(step, supervisor, caller) do
    write = fn -> write_lanes(step, caller) end

    # Twice the cores: while some wait for the disk, others build.
    results =
      1..(2 * System.schedulers_online())
      |> Enum.map(fn _core -> Task.Supervisor.async_nolink(supervisor, write) end)
      |> Task.yield_many(:infinity)
      |> Enum.map(fn
        {_task, {:ok, result}} -> result
        {_task, {:exit, reason}} -> exit({reason, {LsmIndex, :load, 2}})
      end)

    Enum.find(results, hd(results), &match?({:error, _error}, &1))
  end

  defp write_lanes(step, caller) do
    case step.() do
      {:done, count} -> {:ok, count}
      {:error, native} -> {:error, Error.from_native(native)}
      # Without a link, only this ends the work for a caller that died.
      :more -> if Process.alive?(caller), do: write_lanes(step, caller), else: exit(:normal)
    end
  end

  # Chunks are built back to front, which is cheaper and changes nothing: loading adds to a
  # multimap, in whatever order.
  defp add_all(loader, pairs) when is_list(pairs), do: add_list(pairs, loader, 0)

  defp add_all(loader, pairs) do
    {chunk, _size, offset} =
      Enum.reduce(pairs, {[], 0, 0}, fn
        pair, {chunk, size, offset} when size < @chunk ->
          {[pair | chunk], size + 1, offset}

        pair, {chunk, _size, offset} ->
          case add_chunk(loader, chunk, offset) do
            :ok -> {[pair], 1, offset + @chunk}
            {:error, error} -> throw({__MODULE__, error})
          end
      end)

    add_chunk(loader, chunk, offset)
  catch
    {__MODULE__, error} -> {:error, error}
  end

  defp add_list(pairs, loader, offset) do
    case take(pairs, @chunk, []) do
      {[], []} ->
        :ok

      {chunk, rest} ->
        with :ok <- add_chunk(loader, chunk, offset),
             do: add_list(rest, loader, offset + @chunk)
    end
  end

  defp take([pair | rest], size, chunk) when size > 0, do: take(rest, size - 1, [pair | chunk])
  defp take(rest, _size, chunk), do: {chunk, rest}

  defp add_chunk(_loader, [], _offset), do: :ok

  defp add_chunk(loader, chunk, offset) do
    case Native.load_add(loader, chunk) do
      {:error, native} -> {:error, name_element(Error.from_native(native), loader, chunk, offset)}
      :full -> make_room(loader)
      _taken -> :ok
    end
  end

  # The NIF names no element, and the fault it tells is the first it met, not the first there is.
  # So it is given halves: each call may wait for a dirty scheduler.
  defp name_element(%Error{reason: reason} = error, loader, chunk, offset)
       when reason in @faults do
    first_fault(loader, Enum.reverse(chunk), length(chunk), offset) || error
  end

  defp name_element(error, _loader, _chunk, _offset), do: error

  defp first_fault(loader, [element], 1, position) do
    case Native.load_add(loader, [element]) do
      {:error, {reason, message, detail}} when reason in @faults ->
        shown = inspect(element, limit: 5, printable_limit: 60)
        message = "element #{position} of the enumerable, #{shown}: #{message}"
        Error.new(reason, message, Map.merge(detail, %{position: position, element: element}))

      _taken ->
        nil
    end
  end

  defp first_fault(loader, elements, count, offset) do
    half = div(count, 2)
    {first, rest} = Enum.split(elements, half)

    case Native.load_add(loader, first) do
      {:error, _fault} -> first_fault(loader, first, half, offset)
      _taken -> first_fault(loader, rest, count - half, offset + half)
    end
  end
end
