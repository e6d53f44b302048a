defprotocol LsmIndex.Test.Electric.OldIndex.Protocol do
  @moduledoc """
  A double of what the sync service's filter asked of an index in September 2025: five functions, of
  a struct for one field.
  """

  alias LsmIndex.Test.Electric.Eval

  @spec empty?(t) :: boolean
  def empty?(index)

  @spec add_shape(t, value :: term, shape_id :: term, and_where :: Eval.where()) :: t
  def add_shape(index, value, shape_id, and_where)

  @spec remove_shape(t, value :: term, shape_id :: term, and_where :: Eval.where()) :: t
  def remove_shape(index, value, shape_id, and_where)

  @spec affected_shapes(t, Eval.field(), Eval.record(), shapes :: map) :: MapSet.t()
  def affected_shapes(index, field, record, shapes)

  @spec all_shape_ids(t) :: MapSet.t()
  def all_shape_ids(index)
end
