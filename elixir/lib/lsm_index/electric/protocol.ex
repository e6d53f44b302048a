defmodule LsmIndex.Electric.Protocol do
  @moduledoc """
  Makes `LsmEqualityIndex` an index of the protocol that Electric's shape filter had in September
  2025. The host writes, once:

      use LsmIndex.Electric.Protocol, protocol: Electric.Shapes.Filter.Index.Protocol

  and makes its indexes by `LsmEqualityIndex.new/2`, with a `residual:` that decides what is left of a
  clause:

      LsmEqualityIndex.new(type,
        residual: fn and_where, record, _shape -> WhereClause.includes_record?(and_where, record) end
      )

  Make that of a numeric field with `:float8`, as the host has floats for the numerics of clauses: read
  exactly, a record with more digits than a float has would not meet them.

  An index of this kind is mutable: `add_shape` and `remove_shape` return the one they were given. A
  filter that is kept as a value from before a change finds what was changed since.
  """

  @doc false
  defmacro __using__(options) do
    quote bind_quoted: [options: options] do
      defimpl Keyword.fetch!(options, :protocol), for: LsmEqualityIndex do
        defdelegate empty?(index), to: LsmIndex.Index
        defdelegate add_shape(index, value, shape_id, and_where), to: LsmIndex.Index
        defdelegate remove_shape(index, value, shape_id, and_where), to: LsmIndex.Index
        defdelegate affected_shapes(index, field, record, shapes), to: LsmIndex.Index
        defdelegate all_shape_ids(index), to: LsmIndex.Index
      end
    end
  end
end
