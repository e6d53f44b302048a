defmodule LsmIndex.Loader do
  @moduledoc false
  # Feeds an enumerable of {key, id} to the NIF's loader, a chunk at a time. The loader sorts the
  # pairs by lane and writes them to segments, past the overlays: when it holds some millions, and
  # in the end.

  alias LsmIndex.{Error, Native, Telemetry}

  @chunk 4_096
  @max_key 65_535
  @max_id 2_147_483_647

  @spec load(LsmIndex.t(), Enumerable.t()) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def load(%LsmIndex{ref: ref, path: path}, pairs) do
    Telemetry.span([:load, :stop], fn -> run(ref, pairs) end, fn
      {:ok, count} -> {%{count: count}, %{path: path}}
      {:error, _error} -> nil
    end)
  end

  defp run(ref, pairs) do
    with :ok <- check_enumerable(pairs),
         {:ok, loader} <- begin(ref),
         :ok <- add_all(loader, pairs),
         do: finish(loader)
  end

  defp check_enumerable(pairs) do
    if Enumerable.impl_for(pairs) do
      :ok
    else
      message = "load expects an enumerable of {key, id}, got: #{inspect(pairs)}"
      {:error, Error.new(:invalid_argument, message, %{value: pairs})}
    end
  end

  defp begin(ref) do
    case Native.load_begin(ref) do
      {:error, native} -> {:error, Error.from_native(native)}
      loader -> {:ok, loader}
    end
  end

  # Lanes are independent: as many processes as there are cores write them out, each a lane at a
  # time, while others wait for the disk.
  defp finish(loader) do
    1..System.schedulers_online()
    |> Enum.map(fn _core -> Task.async(fn -> write_lanes(loader) end) end)
    |> Task.await_many(:infinity)
    |> Enum.reduce(fn
      {:error, _error} = failed, _result -> failed
      _count, {:error, _error} = failed -> failed
      {:ok, count}, _same -> {:ok, count}
    end)
  end

  defp write_lanes(loader) do
    case Native.load_step(loader) do
      :more -> write_lanes(loader)
      {:done, count} -> {:ok, count}
      {:error, native} -> {:error, Error.from_native(native)}
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

      {chunk, rest} when is_list(rest) ->
        with :ok <- add_chunk(loader, chunk, offset),
             do: add_list(rest, loader, offset + @chunk)

      {_chunk, tail} ->
        message = "load expects an enumerable of {key, id}, got a list that ends in "
        {:error, Error.new(:invalid_argument, message <> inspect(tail), %{value: tail})}
    end
  end

  defp take([pair | rest], size, chunk) when size > 0, do: take(rest, size - 1, [pair | chunk])
  defp take(rest, _size, chunk), do: {chunk, rest}

  defp add_chunk(_loader, [], _offset), do: :ok

  defp add_chunk(loader, chunk, offset) do
    case Native.load_add(loader, chunk) do
      {:error, native} -> {:error, name_element(Error.from_native(native), chunk, offset)}
      _taken -> :ok
    end
  end

  # The NIF knows what is wrong with a pair; which one it was is known here.
  defp name_element(error, chunk, offset) do
    case chunk |> Enum.reverse() |> Enum.find_index(&wrong?/1) do
      nil ->
        error

      index ->
        element = Enum.at(chunk, -1 - index)
        position = offset + index
        shown = inspect(element, limit: 5, printable_limit: 60)

        Error.new(
          error.reason,
          "element #{position} of the enumerable, #{shown}: #{error.message}",
          Map.merge(error.detail, %{position: position, element: element})
        )
    end
  end

  defp wrong?({key, id}) when is_binary(key) and byte_size(key) <= @max_key and id in 0..@max_id,
    do: false

  defp wrong?(_element), do: true
end
