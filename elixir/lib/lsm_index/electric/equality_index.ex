defmodule LsmIndex.Electric.EqualityIndex do
  @moduledoc """
  The equality index of Electric's shape filter, on an `LsmIndex`: made a module of the host by

      defmodule Electric.Shapes.Filter.Indexes.EqualityIndex do
        use LsmIndex.Electric.EqualityIndex,
          filter: Electric.Shapes.Filter,
          where_condition: Electric.Shapes.Filter.WhereCondition
      end

  That defines the functions that the filter calls: `add_shape/5`, `remove_shape/5`,
  `affected_shapes/4`, `all_shape_ids/3`; and `affected_shapes_many/3`, which answers many records
  in one call.

  All conditions and fields of a filter share one index in memory, `{condition_id, field}` being a
  namespace of it (`LsmIndex.Routes`). Its handle is in the filter's `counters_table`, so that it
  goes with the filter, with a row for each such pair that has shapes: the types of its constants.
  Shapes with nothing left to check (`and_where: nil`) are in the index itself and take no memory of
  the BEAM. For the others a constant leads to a condition of the filter's, made when the first of
  them comes.

  ## Options

    * `:filter` (required) - the module with `next_condition_id/1`.
    * `:where_condition` (required) - the module with `init/2`, `add_shape/5`, `remove_shape/5`,
      `affected_shapes/3` and `all_shape_ids/2`.
    * `:parser` - `{module, function}`, called with a text and a type, gives `{:ok, term}` or
      `:error`: for types that are not in `LsmIndex.Postgres.types/0`, and for all of them with
      `keys: :exact`.
    * `:keys` - `:canonical` (default) or `:exact`, see `LsmIndex.Routes`. The first finds routes that
      ETS misses: where a constant and a value are equal in SQL, but not the same term.
    * `:index` - options of `LsmIndex.open/2`.

  ## Numerics

  A host that reads the numerics of clauses into floats keeps 15 to 17 of their digits. So with
  canonical keys a float under `:numeric` finds every record that is the same float: also one that
  differs from the clause in a later digit. Found exactly, records would be missed where the clause
  has more digits than its float. Integers, text and `Decimal` structs are compared exactly, unless
  the field has floats too: then a record finds what is the same float as well.

  ## Where it differs from an index in ETS

    * Constants of several types under one field find their shapes side by side. Text has to be one
      of any of those types, or `RuntimeError` is raised.
    * `remove_shape/5` of a value that is not known is `:deleted` only if the field has no value left:
      the filter asks no more about a field of which it was told that. It comes to this with clauses
      that name one value twice, such as `id IN (1, 1)`.
  """

  alias LsmIndex.Electric.Fields
  alias LsmIndex.Routes.Engine

  @typedoc "A filter: a struct whose `counters_table` is a table of ETS."
  @type filter :: %{:counters_table => :ets.table(), optional(atom) => term}

  @type condition_id :: term
  @type field :: term
  @type shape_id :: term

  @typedoc "What of a clause the index takes."
  @type optimisation :: %{
          :operation => String.t(),
          :field => field,
          :type => term,
          :value => term,
          :and_where => term,
          optional(atom) => term
        }

  @callback add_shape(filter, condition_id, shape_id, optimisation, branch_key :: term) :: term
  @callback remove_shape(filter, condition_id, shape_id, optimisation, branch_key :: term) ::
              :ok | :deleted
  @callback affected_shapes(filter, condition_id, field, record :: map) :: MapSet.t(shape_id)
  @callback affected_shapes_many(filter, condition_id, [{field, record :: map}]) ::
              [MapSet.t(shape_id)]
  @callback all_shape_ids(filter, condition_id, field) :: MapSet.t(shape_id)

  @doc false
  defmacro __using__(options) do
    quote bind_quoted: [options: options] do
      alias LsmIndex.Electric.EqualityIndex

      @behaviour EqualityIndex
      @lsm_index EqualityIndex.config!(options)

      @doc "Files a shape under the clause's constant. Doing so again changes nothing."
      @impl EqualityIndex
      def add_shape(filter, condition_id, shape_id, optimisation, branch_key),
        do:
          EqualityIndex.add(@lsm_index, filter, condition_id, shape_id, optimisation, branch_key)

      @doc "Takes back `add_shape/5`; `:deleted` if the field has no value left."
      @impl EqualityIndex
      def remove_shape(filter, condition_id, shape_id, optimisation, branch_key) do
        EqualityIndex.remove(
          @lsm_index,
          filter,
          condition_id,
          shape_id,
          optimisation,
          branch_key
        )
      end

      @doc "The shapes that the record may be in. Raises for text that doesn't parse."
      @impl EqualityIndex
      def affected_shapes(filter, condition_id, field, record),
        do: EqualityIndex.affected(@lsm_index, filter, condition_id, field, record)

      @doc "`affected_shapes/4` for each of many fields and records, in one call."
      @impl EqualityIndex
      def affected_shapes_many(filter, condition_id, fields_and_records),
        do: EqualityIndex.affected_many(@lsm_index, filter, condition_id, fields_and_records)

      @doc "All shapes of the condition that were filed under the field."
      @impl EqualityIndex
      def all_shape_ids(filter, condition_id, field),
        do: EqualityIndex.all(@lsm_index, filter, condition_id, field)
    end
  end

  @doc false
  def config!(options) do
    options =
      Keyword.validate!(options,
        filter: nil,
        where_condition: nil,
        parser: nil,
        keys: :canonical,
        index: []
      )

    for required <- [:filter, :where_condition], is_nil(options[required]) do
      raise ArgumentError, "use LsmIndex.Electric.EqualityIndex needs #{required}:, a module"
    end

    options |> Map.new() |> Map.put(:tag, LsmIndex) |> Fields.check!()
  end

  @doc false
  def add(config, filter, condition_id, shape_id, %{operation: "="} = optimisation, branch_key) do
    %{type: type, value: value, and_where: and_where} = optimisation
    {routes, name} = Fields.locate(config, filter, condition_id, optimisation)
    key = Fields.key!(routes, type, value)

    if is_nil(and_where) do
      Fields.change!(routes, :put, name, key, shape(shape_id, branch_key))
      Fields.remember(config, filter, routes, name, type, value)
    else
      next = condition(routes, name, key) || new_condition(config, filter, routes, name, key)
      Fields.remember(config, filter, routes, name, type, value)
      config.where_condition.add_shape(filter, next, shape_id, and_where, branch_key)
    end
  end

  @doc false
  def remove(config, filter, condition_id, shape_id, %{operation: "="} = optimisation, branch_key) do
    %{type: type, value: value, and_where: and_where} = optimisation
    {routes, name} = Fields.locate(config, filter, condition_id, optimisation)

    with {:ok, key} <- Fields.key(routes, type, value),
         {:ok, target} <-
           gone(config, filter, routes, name, key, {shape_id, and_where, branch_key}) do
      if is_list(target), do: Fields.change!(routes, :delete, name, apart(key), target)
      Fields.delete!(config, filter, routes, name, key, target)
    else
      nil -> :ok
      :error -> Fields.left(routes, name)
    end
  end

  # What the constant does not lead to any more without the shape; nil if that is nothing, `:error` if
  # it leads to no condition.
  defp gone(_config, _filter, _routes, _name, _key, {shape_id, nil, branch_key}),
    do: {:ok, shape(shape_id, branch_key)}

  defp gone(config, filter, routes, name, key, {shape_id, and_where, branch_key}) do
    case condition(routes, name, key) do
      nil ->
        :error

      next ->
        gone = config.where_condition.remove_shape(filter, next, shape_id, and_where, branch_key)

        if gone == :deleted, do: {:ok, [next]}
    end
  end

  @doc false
  def affected(config, filter, condition_id, field, record) do
    case Fields.read(config, filter, {condition_id, field}, field, record) do
      nil -> MapSet.new()
      {types, found} -> shapes(found, config, filter, field, types, record)
    end
  end

  @doc false
  def affected_many(config, filter, condition_id, fields_and_records) do
    # A field is looked up once for all its records, and so its name is one term in all questions.
    {asked, _fields} =
      Enum.map_reduce(fields_and_records, %{}, fn {field, record}, fields ->
        with %{^field => text} when not is_nil(text) <- record do
          known = fn -> name_and_types(config, filter, {condition_id, field}) end
          fields = Map.put_new_lazy(fields, field, known)
          {asked(fields, field, text, record), fields}
        else
          _no_value -> {nil, fields}
        end
      end)

    questions = for {_field, _types, question, _record} <- asked, do: question

    answers =
      if questions == [],
        do: [],
        else: config |> Fields.routes(filter) |> Engine.read_many(questions)

    answered(asked, answers, config, filter)
  end

  defp name_and_types(config, filter, name) do
    with {types, read_as} <- Fields.types(config, filter, name), do: {name, types, read_as}
  end

  defp asked(fields, field, text, record) do
    with %{^field => {name, types, read_as}} <- fields do
      {field, types, {name, read_as, text}, record}
    else
      _no_type -> nil
    end
  end

  defp answered([nil | asked], answers, config, filter),
    do: [MapSet.new() | answered(asked, answers, config, filter)]

  defp answered([{field, types, _question, record} | asked], [answer | answers], config, filter) do
    shapes = shapes(answer, config, filter, field, types, record)
    [shapes | answered(asked, answers, config, filter)]
  end

  defp answered([], [], _config, _filter), do: []

  @doc false
  def all(config, filter, condition_id, field) do
    name = {condition_id, field}

    {ids, others} = Fields.all(config, filter, name)

    Enum.reduce(others, ids, fn
      {id, _branch_key}, ids ->
        MapSet.put(ids, id)

      [condition], ids ->
        MapSet.union(ids, config.where_condition.all_shape_ids(filter, condition))
    end)
  end

  defp shapes({ids, []}, _config, _filter, _field, _types, _record), do: Engine.set_of(ids)

  defp shapes({ids, others}, config, filter, _field, _types, record) do
    Enum.reduce(others, Engine.set_of(ids), fn
      {id, _branch_key}, shapes ->
        MapSet.put(shapes, id)

      [condition], shapes ->
        found = config.where_condition.affected_shapes(filter, condition, record)
        MapSet.union(shapes, found)
    end)
  end

  defp shapes(:error, _config, _filter, field, types, _record),
    do: Fields.unread!(field, types)

  # One shape can be filed under a constant for several branches of its clause, which are removed
  # one by one.
  defp shape(shape_id, []), do: {shape_id}
  defp shape(shape_id, branch_key), do: {shape_id, branch_key}

  # A value can have many shapes, and one condition at the most. For that to be found among them when
  # shapes come and go, it has another key besides, which no value has.
  defp apart(key) when byte_size(key) < 65_535, do: <<0xFE, key::binary>>
  defp apart(key), do: <<0xFE, :crypto.hash(:sha256, key)::binary>>

  defp condition(routes, name, key) do
    case Engine.targets(routes, name, apart(key)) do
      {[], [[condition]]} -> condition
      {[], []} -> nil
    end
  end

  defp new_condition(config, filter, routes, name, key) do
    next = config.filter.next_condition_id(filter)
    config.where_condition.init(filter, next)
    Fields.change!(routes, :put, name, key, [next])
    Fields.change!(routes, :put, name, apart(key), [next])
    next
  end
end
