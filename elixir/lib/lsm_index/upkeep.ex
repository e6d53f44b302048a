defmodule LsmIndex.Upkeep do
  @moduledoc false
  # What concerns a whole index: flushing and compacting it, lane by lane, so that no call keeps a
  # dirty scheduler for long, and checking its files.

  alias LsmIndex.{Error, Native, Options, Telemetry}

  @spec flush(LsmIndex.t()) :: :ok | {:error, Error.t()}
  def flush(index) do
    timed(index, [:flush, :stop], fn ->
      with :ok <- each_lane(index, &Native.flush_lane/2), do: recycle(index)
    end)
  end

  @spec compact(LsmIndex.t()) :: :ok | {:error, Error.t()}
  def compact(index) do
    timed(index, [:compact, :stop], fn -> each_lane(index, &Native.compact_lane/2) end)
  end

  @spec verify(Path.t(), keyword) :: {:ok, map} | {:error, Error.t()}
  def verify(path, options) do
    with {:ok, progress} <- progress(options),
         {:ok, path} <- stored(path, "verify"),
         {:ok, verifier} <- Error.wrap(Native.verify_begin(path)) do
      check(verifier, progress)
    end
  end

  defp check(verifier, progress) do
    case Native.verify_step(verifier) do
      {:more, so_far} ->
        progress.(so_far)
        check(verifier, progress)

      {:done, report} ->
        report(%{report | faults: Enum.map(report.faults, &Error.from_native/1)})

      {:error, native} ->
        {:error, Error.from_native(native)}
    end
  end

  # The first fault is the error; the report has all of them.
  defp report(%{faults: []} = report), do: {:ok, report}

  defp report(%{faults: [%Error{detail: detail} = first | _rest]} = report),
    do: {:error, %{first | detail: Map.put(detail, :report, report)}}

  @spec repair(Path.t(), keyword) :: {:ok, [map]} | {:error, Error.t()}
  def repair(path, options) do
    with {:ok, apply?} <- apply?(options),
         {:ok, path} <- stored(path, "repair"),
         do: Error.wrap(Native.repair(path, apply?))
  end

  defp apply?([]), do: {:ok, false}
  defp apply?(apply: apply?) when is_boolean(apply?), do: {:ok, apply?}

  defp apply?(options) do
    message = "repair takes the option :apply, true or false, got: #{inspect(options)}"
    {:error, Error.new(:invalid_option, message, %{option: :apply, value: options})}
  end

  defp stored(path, function) do
    with {:ok, :memory} <- Options.location(path) do
      {:error, Error.new(:invalid_argument, "#{function} needs a path, got: :memory")}
    end
  end

  defp progress([]), do: {:ok, fn _so_far -> :ok end}
  defp progress(progress: progress) when is_function(progress, 1), do: {:ok, progress}

  defp progress(options) do
    message = "verify takes the option :progress, a function of one argument"
    {:error, Error.new(:invalid_option, message, %{option: :progress, value: options})}
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

  # A stored index can use the ids of forgotten terms again once no lane leads to them, and only a
  # flush of all of them together knows that. With every lane flushed it has little to do.
  defp recycle(%LsmIndex{path: :memory}), do: :ok
  defp recycle(%LsmIndex{ref: ref}), do: Native.flush(ref)
end
