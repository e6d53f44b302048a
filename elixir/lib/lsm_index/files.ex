defmodule LsmIndex.Files do
  @moduledoc false
  # Checking and repairing the files of an index, whether it is open or not: verification a piece at
  # a time, so that no call keeps a dirty scheduler for long.

  alias LsmIndex.{Error, Native, Options}

  @spec verify(term, term) :: {:ok, map} | {:error, Error.t()}
  def verify(path, options) do
    none = fn _so_far -> :ok end

    with {:ok, progress} <- Options.one(options, :progress, none),
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

      error ->
        Error.wrap(error)
    end
  end

  # The first fault is the error; the report has all of them.
  defp report(%{faults: []} = report), do: {:ok, report}

  defp report(%{faults: [%Error{detail: detail} = first | _rest]} = report),
    do: {:error, %{first | detail: Map.put(detail, :report, report)}}

  @spec repair(term, term) :: {:ok, [map]} | {:error, Error.t()}
  def repair(path, options) do
    with {:ok, apply?} <- Options.one(options, :apply, false),
         {:ok, path} <- stored(path, "repair"),
         do: Error.wrap(Native.repair(path, apply?))
  end

  defp stored(path, function) do
    with {:ok, :memory} <- Options.location(path) do
      {:error, Error.new(:invalid_argument, "#{function} needs a path, got: :memory")}
    end
  end
end
