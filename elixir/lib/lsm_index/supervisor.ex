defmodule LsmIndex.Supervisor do
  @moduledoc false
  # The application's processes: one compactor for all indexes without a path, and the owners of
  # the indexes opened by `LsmIndex.open/2` with a path (each with a compactor of its own), and the
  # tasks of loads.

  use Supervisor

  @spec start_link(term) :: Supervisor.on_start()
  def start_link(_options), do: Supervisor.start_link(__MODULE__, [], name: __MODULE__)

  @impl true
  def init(_options) do
    children = [
      {LsmIndex.Compactor, :shared},
      {DynamicSupervisor, name: LsmIndex.Owners, strategy: :one_for_one},
      {Task.Supervisor, name: LsmIndex.Tasks}
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end
end
