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

  The host reads the numerics of clauses into floats, which have 15 to 17 digits. So with canonical
  keys, numerics that are the same float are one: a record that differs from a constant in a later
  digit finds its shapes as well. Found exactly, they would be missed where the clause has more
  digits than its float.

  ## Where it differs from an index in ETS

    * Constants of several types under one field find their shapes side by side. Text has to be one
      of any of those types, or `RuntimeError` is raised.
    * `remove_shape/5` of a value that is not known is `:deleted` only if the field has no value left:
      the filter asks no more about a field of which it was told that. It comes to this with clauses
      that name one value twice, such as `id IN (1, 1)`.
  """

  alias LsmIndex.Routes

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
      Keyword.validate!(options, [
        :filter,
        :where_condition,
        parser: nil,
        keys: :canonical,
        index: []
      ])

    for required <- [:filter, :where_condition], is_nil(options[required]) do
      raise ArgumentError, "use LsmIndex.Electric.EqualityIndex needs #{required}:, a module"
    end

    # What is wrong with them is told when the module is made, not when the first shape comes.
    _checked = routes_options!(Map.new(options))
    Map.new(options)
  end

  defp routes_options!(%{keys: keys, parser: parser}) do
    parser =
      case parser do
        nil ->
          nil

        {module, function} when is_atom(module) and is_atom(function) ->
          Function.capture(module, function, 2)

        _other ->
          raise ArgumentError, "parser: must be {module, function}, got: #{inspect(parser)}"
      end

    Routes.settings!(keys: keys, parser: parser)
  end

  @doc false
  def add(config, filter, condition_id, shape_id, %{operation: "="} = optimisation, branch_key) do
    %{field: field, type: type, value: value, and_where: and_where} = optimisation
    routes = routes(config, filter)
    name = {condition_id, field}
    key = key!(routes, type, value)

    if is_nil(and_where) do
      change!(routes, :put, name, key, shape(shape_id, branch_key))
      remember_type(filter, name, type)
    else
      next = condition(routes, name, key) || new_condition(config, filter, routes, name, key)
      remember_type(filter, name, type)
      config.where_condition.add_shape(filter, next, shape_id, and_where, branch_key)
    end
  end

  @doc false
  def remove(config, filter, condition_id, shape_id, %{operation: "="} = optimisation, branch_key) do
    %{field: field, type: type, value: value, and_where: and_where} = optimisation
    routes = routes(config, filter)
    name = {condition_id, field}

    with {:ok, key} <- key(routes, type, value),
         target when not is_nil(target) <-
           gone(config, filter, routes, name, key, {shape_id, and_where, branch_key}) do
      case change!(routes, :delete, name, key, target) do
        :changed -> :ok
        :emptied -> forget_types(filter, name)
        :unchanged -> if Routes.count(routes, name) == 0, do: :deleted, else: :ok
      end
    else
      nil -> :ok
      :error -> if Routes.count(routes, name) == 0, do: :deleted, else: :ok
    end
  end

  # What the constant does not lead to any more without the shape; nil if that is nothing.
  defp gone(_config, _filter, _routes, _name, _key, {shape_id, nil, branch_key}),
    do: shape(shape_id, branch_key)

  defp gone(config, filter, routes, name, key, {shape_id, and_where, branch_key}) do
    next = condition(routes, name, key)

    if is_nil(next) or
         config.where_condition.remove_shape(filter, next, shape_id, and_where, branch_key) ==
           :deleted,
       do: [next]
  end

  @doc false
  def affected(config, filter, condition_id, field, record) do
    name = {condition_id, field}

    with %{^field => text} when not is_nil(text) <- record,
         [{_, types}] <- :ets.lookup(filter.counters_table, row(name)) do
      config
      |> routes(filter)
      |> Routes.read(name, compared(config, types), text)
      |> shapes(config, filter, field, types, record)
    else
      _no_value_or_type -> MapSet.new()
    end
  end

  @doc false
  def affected_many(config, filter, condition_id, fields_and_records) do
    asked =
      for {field, record} <- fields_and_records do
        with %{^field => text} when not is_nil(text) <- record,
             [{_, types}] <- :ets.lookup(filter.counters_table, row({condition_id, field})) do
          {field, types, text, record}
        else
          _no_value_or_type -> nil
        end
      end

    questions =
      for {field, types, text, _} <- asked,
          do: {{condition_id, field}, compared(config, types), text}

    answers =
      if questions == [], do: [], else: config |> routes(filter) |> Routes.read_many(questions)

    answered(asked, answers, config, filter)
  end

  defp answered([nil | asked], answers, config, filter),
    do: [MapSet.new() | answered(asked, answers, config, filter)]

  defp answered([{field, types, _text, record} | asked], [answer | answers], config, filter) do
    shapes = shapes(answer, config, filter, field, types, record)
    [shapes | answered(asked, answers, config, filter)]
  end

  defp answered([], [], _config, _filter), do: []

  @doc false
  def all(config, filter, condition_id, field) do
    name = {condition_id, field}

    case :ets.lookup(filter.counters_table, row(name)) do
      [] ->
        MapSet.new()

      [_types] ->
        {ids, conditions} =
          config
          |> routes(filter)
          |> Routes.reduce(name, {MapSet.new(), []}, &gather/2)

        Enum.reduce(conditions, ids, fn condition, ids ->
          MapSet.union(ids, config.where_condition.all_shape_ids(filter, condition))
        end)
    end
  end

  # The set grows bit by bit: built in one go, a large one keeps a scheduler for milliseconds.
  defp gather({ids, others}, {all_ids, conditions}) do
    all_ids = Enum.reduce(ids, all_ids, &MapSet.put(&2, &1))

    Enum.reduce(others, {all_ids, conditions}, fn
      {id, _branch_key}, {all_ids, conditions} -> {MapSet.put(all_ids, id), conditions}
      [condition], {all_ids, conditions} -> {all_ids, [condition | conditions]}
    end)
  end

  defp shapes({ids, []}, _config, _filter, _field, _types, _record), do: MapSet.new(ids)

  defp shapes({ids, others}, config, filter, _field, _types, record) do
    Enum.reduce(others, MapSet.new(ids), fn
      {id, _branch_key}, shapes ->
        MapSet.put(shapes, id)

      [condition], shapes ->
        found = config.where_condition.affected_shapes(filter, condition, record)
        MapSet.union(shapes, found)
    end)
  end

  defp shapes(:error, _config, _filter, field, types, _record) do
    type = if is_list(types), do: hd(types), else: types
    raise "Could not parse value for field #{inspect(field)} of type #{inspect(type)}"
  end

  # One shape can be filed under a constant for several branches of its clause, which are removed
  # one by one.
  defp shape(shape_id, []), do: {shape_id}
  defp shape(shape_id, branch_key), do: {shape_id, branch_key}

  # In SQL, nothing equals NULL: such shapes are listed, and never found. No value has this key,
  # whatever the keys are: <<0>> would be that of the empty text among exact ones.
  @null ""

  defp key(_routes, _type, nil), do: {:ok, @null}
  defp key(routes, type, value), do: Routes.key(routes, compared(routes, type), value)

  # The host has floats for the numerics of clauses: of the digits of `n = 0.1234567890123456789` only
  # some are left, and a record's text has to lose the others too. Where terms are compared, the
  # parser does that.
  defp compared(%{keys: :canonical}, :numeric), do: :float8

  defp compared(%{keys: :canonical} = settings, types) when is_list(types),
    do: for(type <- types, do: if(is_list(type), do: type, else: compared(settings, type)))

  defp compared(_settings, type), do: type

  defp key!(routes, type, value) do
    with :error <- key(routes, type, value) do
      raise ArgumentError, "no constant of type #{inspect(type)}: #{inspect(value)}"
    end
    |> elem(1)
  end

  defp condition(routes, name, key) do
    {_ids, others} = Routes.targets(routes, name, key)
    Enum.find_value(others, fn other -> is_list(other) && hd(other) end)
  end

  defp new_condition(config, filter, routes, name, key) do
    next = config.filter.next_condition_id(filter)
    config.where_condition.init(filter, next)
    change!(routes, :put, name, key, [next])
    next
  end

  defp change!(routes, op, name, key, target) do
    with {:error, error} <- Routes.change(routes, op, name, key, target), do: raise(error)
  end

  ## The filter's table

  defp row(name), do: {LsmIndex, name}

  defp routes(config, %{counters_table: table}) do
    case :ets.lookup(table, LsmIndex) do
      [{_, routes}] ->
        routes

      [] ->
        routes = open!(config)
        :ets.insert(table, {LsmIndex, routes})
        routes
    end
  end

  defp open!(%{index: options} = config) do
    case LsmIndex.open(:memory, options) do
      {:ok, index} -> Routes.new(index, routes_options!(config))
      {:error, error} -> raise error
    end
  end

  # The newest first; alone, it is no list.
  defp remember_type(%{counters_table: table}, name, type) do
    case :ets.lookup(table, row(name)) do
      [] ->
        :ets.insert(table, {row(name), if(is_list(type), do: [type], else: type)})

      [{_, ^type}] ->
        true

      [{_, [^type | _]}] ->
        true

      [{_, types}] ->
        :ets.insert(table, {row(name), [type | List.delete(List.wrap(types), type)]})
    end
  end

  defp forget_types(%{counters_table: table}, name) do
    :ets.delete(table, row(name))
    :deleted
  end
end
