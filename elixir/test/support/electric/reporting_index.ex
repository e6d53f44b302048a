defmodule LsmIndex.Test.Electric.ReportingIndex do
  @moduledoc """
  An index that leaves all to another, and tells a process of it: `{:index, function, arguments}`,
  without the index among the arguments. `new/3` tells it of `new`, with the type.
  """

  alias LsmIndex.Test.Electric.{Eval, OldIndex, OldWhereCondition}

  @enforce_keys [:index, :to]
  defstruct @enforce_keys

  @type t :: %__MODULE__{index: OldIndex.Protocol.t(), to: pid}

  @spec new(OldWhereCondition.new_index(), to :: pid, Eval.type()) :: t
  def new(new_index, to, type) do
    send(to, {:index, :new, [type]})
    %__MODULE__{index: new_index.(type), to: to}
  end

  defimpl OldIndex.Protocol do
    def empty?(index), do: pass_on(index, :empty?, [])

    def add_shape(index, value, shape_id, and_where),
      do: %{index | index: pass_on(index, :add_shape, [value, shape_id, and_where])}

    def remove_shape(index, value, shape_id, and_where),
      do: %{index | index: pass_on(index, :remove_shape, [value, shape_id, and_where])}

    def affected_shapes(index, field, record, shapes),
      do: pass_on(index, :affected_shapes, [field, record, shapes])

    def all_shape_ids(index), do: pass_on(index, :all_shape_ids, [])

    defp pass_on(%{index: index, to: to}, function, arguments) do
      send(to, {:index, function, arguments})
      apply(OldIndex.Protocol, function, [index | arguments])
    end
  end
end
