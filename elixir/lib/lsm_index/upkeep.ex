defmodule LsmIndex.Upkeep do
  @moduledoc false
  # What concerns a whole index: flushing and compacting it, lane by lane, so that no call keeps a
  # dirty scheduler for long, and checking its files.

  alias LsmIndex.{Error, Native, Options, Telemetry}

  @spec flush(LsmIndex.t()) :: :ok | {:error, Error.t()}
  def flush(index) do
    report(index, [:flush, :stop], fn ->
      with :ok <- each_lane(index, &Native.flush_lane/2), do: recycle(index)
    end)
  end

  @spec compact(LsmIndex.t()) :: :ok | {:error, Error.t()}
  def compact(index) do
    report(index, [:compact, :stop], fn -> each_lane(index, &Native.compact_lane/2) end)
  end

  @spec verify(Path.t()) :: {:ok, map} | {:error, Error.t()}
  def verify(path) do
    case Options.location(path) do
      {:ok, :memory} ->
        {:error, Error.new(:invalid_argument, "verify needs a path, got: :memory")}

      {:ok, path} ->
        Error.wrap(Native.verify(path))

      {:error, error} ->
        {:error, error}
    end
  end

  defp report(%LsmIndex{path: path}, event, work) do
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

  # A stored index can use the ids of forgotten terms again once no lane leads to them, and only a
  # flush of all of them together knows that. With every lane flushed it has little to do.
  defp recycle(%LsmIndex{path: :memory}), do: :ok
  defp recycle(%LsmIndex{ref: ref}), do: Native.flush(ref)
end
