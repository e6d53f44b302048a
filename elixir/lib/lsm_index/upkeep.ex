defmodule LsmIndex.Upkeep do
  @moduledoc false
  # What concerns a whole index: flushing and compacting it, lane by lane, so that no call keeps a
  # dirty scheduler for long.

  alias LsmIndex.{Error, Native, Options, Telemetry}

  @spec flush(LsmIndex.t()) :: :ok | {:error, Error.t()}
  def flush(index) do
    timed(index, [:flush, :stop], fn ->
      # A stamp that waits for what is flushed now.
      pending = Native.stamp_pending(index.ref)
      with :ok <- each_lane(index, &Native.flush_lane/2), do: write_stamp(index, pending)
    end)
  end

  defp write_stamp(%{ref: ref}, {number, stamp}) when is_integer(number),
    do: Native.stamp_write(ref, number, stamp)

  defp write_stamp(_index, none_or_error), do: none_or_error || :ok

  @spec compact(LsmIndex.t()) :: :ok | {:error, Error.t()}
  def compact(index) do
    timed(index, [:compact, :stop], fn ->
      with round when is_integer(round) <- Native.round_begin(index.ref),
           do: finish_round(index.ref, round)
    end)
  end

  @spec warm(LsmIndex.t(), term) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def warm(%LsmIndex{ref: ref, num_lanes: lanes}, options) do
    none = fn _so_far -> :ok end

    with {:ok, progress} <- Options.one(options, :progress, none) do
      Enum.reduce_while(0..(lanes - 1), {:ok, 0}, fn lane, {:ok, bytes} ->
        case Native.warm_lane(ref, lane) do
          {:error, native} ->
            {:halt, {:error, Error.from_native(native)}}

          of_lane ->
            progress.(%{bytes: bytes + of_lane, lanes: lane + 1, of_lanes: lanes})
            {:cont, {:ok, bytes + of_lane}}
        end
      end)
    end
  end

  defp timed(%LsmIndex{path: path}, event, work) do
    Telemetry.span(event, fn -> Error.wrap(work.()) end, fn result ->
      {%{}, %{path: path, result: result}}
    end)
  end

  defp each_lane(%LsmIndex{ref: ref, num_lanes: lanes}, work) do
    Enum.reduce_while(0..(lanes - 1), :ok, fn lane, :ok ->
      case work.(ref, lane) do
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  # The compactor may do pieces of it too.
  defp finish_round(ref, round) do
    case Native.round_step(ref, round) do
      :more -> finish_round(ref, round)
      :done -> :ok
      error -> error
    end
  end
end
