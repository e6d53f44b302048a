defmodule LsmIndex.Index do
  @moduledoc """
  An index of shapes: which shapes does a changed row affect?

  These five functions are all that a filter needs of an index. They work on every struct that
  implements `LsmIndex.Index.Protocol`; `LsmEqualityIndex`, for clauses of the form
  `field = constant`, is one.

      iex> alias LsmIndex.Index
      iex> index = LsmEqualityIndex.new(:int4)
      iex> index = Index.add_shape(index, 42, "shape-1", nil)
      iex> index = Index.add_shape(index, 42, "shape-2", nil)
      iex> Index.affected_shapes(index, "user_id", %{"user_id" => "42"}, %{})
      MapSet.new(["shape-1", "shape-2"])
      iex> index = Index.remove_shape(index, 42, "shape-1", nil)
      iex> Index.all_shape_ids(index)
      MapSet.new(["shape-2"])
      iex> Index.empty?(index)
      false
  """

  alias LsmIndex.Index.Protocol

  @typedoc "Any struct with an implementation of `LsmIndex.Index.Protocol`."
  @type t :: Protocol.t()

  @typedoc "The constant of the clause, such as the `42` of `user_id = 42`."
  @type value :: term

  @type shape_id :: term

  @typedoc "What is left of the clause beside `field = value`; `nil` if nothing is."
  @type and_where :: term

  @typedoc "The name of a column, and its key in a record."
  @type field :: term

  @typedoc "A row: PostgreSQL's text of each column, or `nil`."
  @type row :: %{optional(field) => String.t() | nil}

  @typedoc "The shapes by their ids, for what the index has to ask about them."
  @type shapes :: %{optional(shape_id) => term}

  @doc "Whether the index holds no shape."
  @spec empty?(t) :: boolean
  defdelegate empty?(index), to: Protocol

  @doc """
  Files a shape under `value`. Doing so again changes nothing.

  Use the index it returns: whether the one passed in knows the shape is up to the implementation.
  """
  @spec add_shape(t, value, shape_id, and_where) :: t
  defdelegate add_shape(index, value, shape_id, and_where), to: Protocol

  @doc "Takes back `add_shape/4` with the same arguments. What is not there is no error."
  @spec remove_shape(t, value, shape_id, and_where) :: t
  defdelegate remove_shape(index, value, shape_id, and_where), to: Protocol

  @doc """
  The ids of the shapes that `record` affects, by its value of `field`.

  A record without that field, or with `nil` there, affects none. Text that cannot be a value of
  the index's type raises a `RuntimeError`.
  """
  @spec affected_shapes(t, field, row, shapes) :: MapSet.t(shape_id)
  defdelegate affected_shapes(index, field, record, shapes), to: Protocol

  @doc "The ids of all shapes in the index."
  @spec all_shape_ids(t) :: MapSet.t(shape_id)
  defdelegate all_shape_ids(index), to: Protocol
end

defprotocol LsmIndex.Index.Protocol do
  @moduledoc """
  What an index has to implement; `LsmIndex.Index` documents the functions.
  """

  alias LsmIndex.Index

  @spec empty?(t) :: boolean
  def empty?(index)

  @spec add_shape(t, Index.value(), Index.shape_id(), Index.and_where()) :: t
  def add_shape(index, value, shape_id, and_where)

  @spec remove_shape(t, Index.value(), Index.shape_id(), Index.and_where()) :: t
  def remove_shape(index, value, shape_id, and_where)

  @spec affected_shapes(t, Index.field(), Index.row(), Index.shapes()) ::
          MapSet.t(Index.shape_id())
  def affected_shapes(index, field, record, shapes)

  @spec all_shape_ids(t) :: MapSet.t(Index.shape_id())
  def all_shape_ids(index)
end
