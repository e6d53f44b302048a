defmodule LsmIndex.Application do
  @moduledoc false
  # Loads the NIF library before anything needs it, so that a missing one stops the start with a
  # reason instead of failing the first call.

  use Application

  @impl true
  def start(_type, _args) do
    case Code.ensure_loaded(LsmIndex.Native) do
      {:module, _native} ->
        :ok = LsmIndex.set_pace(Application.get_env(:lsm_index, :pace, :infinity))
        LsmIndex.Supervisor.start_link([])

      {:error, reason} ->
        {:error, :persistent_term.get(LsmIndex.Native, reason)}
    end
  end
end
