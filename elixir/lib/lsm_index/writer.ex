defmodule LsmIndex.Writer do
  @moduledoc false
  # Changes that go into the log, or have to wait: on a dirty scheduler. Each is tried first, so that
  # a stall can be told from a change that was made at once.

  alias LsmIndex.{Compactor, Native}

  @type op :: :put | :delete

  @spec change(LsmIndex.t(), op, LsmIndex.key(), LsmIndex.id()) :: boolean | Native.error()
  def change(index, op, key, id) do
    with :busy <- Native.change_dirty(index.ref, op, key, id, index.durability, false),
         do: wait(index, op, key, id)
  end

  @doc "As `change/4`, for one that was tried already and found its lane busy."
  @spec wait(LsmIndex.t(), op, LsmIndex.key(), LsmIndex.id()) :: boolean | Native.error()
  def wait(%LsmIndex{ref: ref, durability: mode} = index, op, key, id) do
    Compactor.stalled(index, op, fn -> Native.change_dirty(ref, op, key, id, mode, true) end)
  end

  @spec write(LsmIndex.t(), [LsmIndex.op()]) :: non_neg_integer | Native.error()
  def write(index, ops) do
    with :busy <- Native.write_dirty(index.ref, ops, index.durability, false),
         do: wait(index, ops)
  end

  @doc "As `write/2`, for a batch that was tried already and found a lane busy."
  @spec wait(LsmIndex.t(), [LsmIndex.op()]) :: non_neg_integer | Native.error()
  def wait(%LsmIndex{ref: ref, durability: mode} = index, ops) do
    Compactor.stalled(index, :write, fn -> Native.write_dirty(ref, ops, mode, true) end)
  end

  @doc "Adds or removes what a key leads to; `operation` names that in the report of a stall."
  @spec route(LsmIndex.t(), op, Native.name(), Native.key(), Native.target(), operation :: atom) ::
          :changed | :unchanged | :emptied | Native.error()
  def route(%LsmIndex{ref: ref, durability: mode} = index, op, name, key, target, operation) do
    with :busy <- try_route(index, op, name, key, target) do
      wait = fn -> Native.route_dirty(ref, op, name, key, target, mode, true) end
      Compactor.stalled(index, operation, wait)
    end
  end

  defp try_route(%LsmIndex{durability: :memory, ref: ref} = index, op, name, key, target) do
    answer =
      case op do
        :put -> Native.route_put(ref, name, key, target)
        :delete -> Native.route_delete(ref, name, key, target)
      end

    if answer == :large, do: dirty(index, op, name, key, target), else: answer
  end

  defp try_route(index, op, name, key, target), do: dirty(index, op, name, key, target)

  defp dirty(%LsmIndex{durability: mode, ref: ref}, op, name, key, target),
    do: Native.route_dirty(ref, op, name, key, target, mode, false)
end
