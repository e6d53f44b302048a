defmodule LsmIndex.Case do
  @moduledoc false
  # What several tests need: indexes to play with, and waiting for what happens by itself.

  use ExUnit.CaseTemplate

  using do
    quote do
      import LsmIndex.Case
      alias LsmIndex.Error
    end
  end

  @doc "A new index in memory."
  def memory_index(options \\ []) do
    {:ok, index} = LsmIndex.open(:memory, options)
    index
  end

  @doc "Waits until `condition` holds; a condition that never does fails the test."
  def eventually(condition, attempts \\ 1_000) do
    cond do
      condition.() ->
        :ok

      attempts == 0 ->
        ExUnit.Assertions.flunk("did not become true: #{inspect(condition)}")

      true ->
        Process.sleep(10)
        eventually(condition, attempts - 1)
    end
  end

  @doc "Waits until the process is gone and gives the reason."
  def await_end(pid) do
    monitor = Process.monitor(pid)

    receive do
      {:DOWN, ^monitor, :process, ^pid, reason} -> reason
    after
      30_000 -> ExUnit.Assertions.flunk("#{inspect(pid)} is still alive")
    end
  end

  @doc "The process that compacts an index with an owner."
  def compactor_of(%LsmIndex{owner: owner}), do: :sys.get_state(owner).compactor

  @doc "Suspends a process until the test ends, or `:sys.resume/1`."
  def suspend(process) do
    pid = GenServer.whereis(process)
    :ok = :sys.suspend(pid)
    ExUnit.Callbacks.on_exit(fn -> if Process.alive?(pid), do: :sys.resume(pid) end)
  end

  @doc "Runs `work` in a process of its own, which ends normally after it, and gives the result."
  def in_other_process(work) do
    work |> Task.async() |> Task.await(:infinity)
  end
end
