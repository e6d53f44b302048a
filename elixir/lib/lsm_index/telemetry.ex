defmodule LsmIndex.Telemetry do
  @moduledoc """
  The events of this library, for `:telemetry` if the host application has it.

  Nothing is emitted per look-up or per write. Durations are in native time units.

  | event | measurements | metadata |
  |---|---|---|
  | `[:lsm_index, :open, :stop]` | `duration` | `path`, `num_lanes` |
  | `[:lsm_index, :close, :stop]` | `duration` | `path`, `result` |
  | `[:lsm_index, :recovery, :stop]` | `log_bytes`, `log_files`, `batches`, `changes`, `micros`, `dropped_total` | `path`, `torn`, `dropped` |
  | `[:lsm_index, :load, :stop]` | `duration`, `count` | `path` |
  | `[:lsm_index, :flush, :stop]` | `duration` | `path`, `result` |
  | `[:lsm_index, :compact, :stop]` | `duration` | `path`, `result` |
  | `[:lsm_index, :stall]` | `duration` | `path`, `operation` |
  | `[:lsm_index, :compactor, :error]` | | `error` |
  | `[:lsm_index, :poisoned]` | | `error` |
  | `[:lsm_index, :shadow, :difference]` | `missing`, `extra` | `condition_id`, `field`, `value`, `missing`, `extra` |

  A recovery is told of if there was something to recover, `:poisoned` once, when writes are refused
  until the index is opened again.

  A difference is what `LsmIndex.Electric.Shadow` found: the measurements are numbers of shapes, the
  metadata has the shapes.

  `path` is `:memory` for an index without one; those are neither announced when they are opened
  nor when they are closed. `result` is `:ok` or `{:error, error}`. A stall is a write that
  could not be made at once, nearly always because its lane waited for a flush; else because another
  writer had the lane for longer than a moment, or the first shape of a stored index had to find out
  what ids there are. `duration` is how long it took, `operation` one of `:put`, `:delete`, `:write`,
  `:add_shape` and `:remove_shape`.
  """

  @doc false
  @spec execute([atom], map, map) :: :ok
  def execute(event, measurements, metadata) do
    # Whoever attached a handler thereby loaded the module, so asking for a loaded one is enough,
    # and it costs nothing where there is none.
    if function_exported?(:telemetry, :execute, 3) do
      apply(:telemetry, :execute, [[:lsm_index | event], measurements, metadata])
    end

    :ok
  end

  @doc false
  @spec span([atom], (... -> result), (result -> {map, map} | nil)) :: result when result: term
  def span(event, run, describe) do
    start = System.monotonic_time()
    result = run.()
    duration = System.monotonic_time() - start

    with {measurements, metadata} <- describe.(result) do
      execute(event, Map.put(measurements, :duration, duration), metadata)
    end

    result
  end
end
