defmodule LsmIndex.Application do
  @moduledoc false
  # Loads the NIF library before anything needs it, so that a missing one stops the start with a
  # reason instead of failing the first call.

  use Application

  @impl true
  def start(_type, _args) do
    case Code.ensure_loaded(LsmIndex.Native) do
      {:module, _native} ->
        with :ok <- set_pace(Application.get_env(:lsm_index, :pace, :infinity)),
             do: LsmIndex.Supervisor.start_link([])

      {:error, reason} ->
        {:error, :persistent_term.get(LsmIndex.Native, reason)}
    end
  end

  defp set_pace(pace) when pace == :infinity or (is_integer(pace) and pace > 0),
    do: LsmIndex.set_pace(pace)

  defp set_pace(pace), do: {:error, {:invalid_option, :pace, pace}}
end
