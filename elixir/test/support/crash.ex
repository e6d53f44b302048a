defmodule LsmIndex.Crash do
  @moduledoc false
  # A crash is imitated by a copy of the directory, made while the index is open: the copy has what
  # the kernel had been given by then. `LsmIndex.KillTest` crashes for real.

  @doc "A new index with room: nothing is flushed that a test does not flush."
  def create(path, options \\ []) do
    {:ok, index} = LsmIndex.open(path, [num_lanes: 4] ++ options)
    index
  end

  @doc "The directory as a crash at this moment would leave it: the path of a copy."
  def crash(path) do
    copy = path <> ".#{System.unique_integer([:positive])}"
    File.cp_r!(path, copy)
    copy
  end

  @doc "What `look` finds in the index after a crash at this moment."
  def after_crash(path, look) do
    {:ok, index} = path |> crash() |> LsmIndex.open()
    found = look.(index)
    :ok = LsmIndex.close(index)
    found
  end
end
