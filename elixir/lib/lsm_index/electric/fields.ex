defmodule LsmIndex.Electric.Fields do
  @moduledoc false
  # What an adapter keeps in a filter's `counters_table`: a row `{tag, routes}` with the handle of its
  # index, and for each namespace (`{condition_id, field}`) with shapes a row `{{tag, name}, types,
  # read_as, native}`: the types of its constants, the newest first (alone, one is no list); the types
  # that text is read as; and, if the NIF reads all of them, the index's reference and the name's code,
  # so that a look-up needs no other row.

  import LsmIndex.Routes.Engine, only: [is_short: 1]
  alias LsmIndex.{Key, Native, Routes}
  alias LsmIndex.Routes.Engine

  @type config :: %{
          :tag => atom,
          :keys => :canonical | :exact,
          :parser => {module, atom} | nil,
          :index => keyword,
          optional(atom) => term
        }
  @type filter :: %{:counters_table => :ets.table(), optional(atom) => term}
  @type name :: {condition_id :: term, field :: term}

  @doc "The routes of a filter, made when they are first asked for."
  @spec routes(config, filter) :: Routes.t()
  def routes(%{tag: tag} = config, %{counters_table: table}) do
    case :ets.lookup(table, tag) do
      [{_, routes}] ->
        routes

      [] ->
        routes = open!(config)
        :ets.insert(table, {tag, routes})
        routes
    end
  end

  @doc "The routes of a filter, and the namespace that a clause's constant is in."
  @spec locate(config, filter, condition_id :: term, %{
          :field => term,
          optional(atom) => term
        }) :: {Routes.t(), name}
  def locate(config, filter, condition_id, %{field: field}),
    do: {routes(config, filter), {condition_id, field}}

  defp open!(%{index: options} = config) do
    case LsmIndex.open(:memory, options) do
      {:ok, index} -> Routes.new(index, settings!(config))
      {:error, error} -> raise error
    end
  end

  @doc "Tells what is wrong with the options when the module is made, not when the first shape comes."
  @spec check!(config) :: config
  def check!(config) do
    _settings = settings!(config)
    config
  end

  defp settings!(%{keys: keys, parser: parser}) do
    parser =
      case parser do
        # Of a type that nobody reads, no text parses.
        nil when keys == :canonical ->
          fn _text, _type -> :error end

        nil ->
          nil

        {module, function} when is_atom(module) and is_atom(function) ->
          Function.capture(module, function, 2)

        _other ->
          raise ArgumentError, "parser: must be {module, function}, got: #{inspect(parser)}"
      end

    Engine.settings!(keys: keys, parser: parser)
  end

  # In SQL, nothing equals NULL: such shapes are listed, and never found. No value has this key,
  # whatever the keys are: <<0>> would be that of the empty text among exact ones.
  @null ""

  @spec key(Routes.t(), type :: term, value :: term) :: {:ok, Key.t()} | :error
  def key(_routes, _type, nil), do: {:ok, @null}
  def key(routes, type, value), do: Engine.key(routes, compared(routes, type, value), value)

  # Hosts have floats for the numerics of clauses: of the digits of `n = 0.1234567890123456789` only
  # some are left, and a record's text has to lose the others too. Where terms are compared, the
  # parser does that.
  defp compared(%{keys: :canonical}, :numeric, value) when is_float(value), do: :float8
  defp compared(_routes, type, _value), do: type

  @spec key!(Routes.t(), type :: term, value :: term) :: Key.t()
  def key!(routes, type, value) do
    case key(routes, type, value) do
      {:ok, key} -> key
      :error -> raise ArgumentError, "no constant of type #{inspect(type)}: #{inspect(value)}"
    end
  end

  @spec change!(Routes.t(), :put | :delete, name, Key.t(), Native.target()) ::
          :changed | :unchanged | :emptied
  def change!(routes, op, name, key, target) do
    with {:error, error} <- Engine.change(routes, op, name, key, target), do: raise(error)
  end

  @doc "Removes a target; `:deleted` if the field has no value left."
  @spec delete!(config, filter, Routes.t(), name, Key.t(), Native.target()) ::
          :ok | :deleted
  def delete!(config, filter, routes, name, key, target) do
    case change!(routes, :delete, name, key, target) do
      :changed -> :ok
      :unchanged -> left(routes, name)
      :emptied -> forget(config, filter, name)
    end
  end

  @spec left(Routes.t(), name) :: :ok | :deleted
  def left(routes, name), do: if(Routes.count(routes, name) == 0, do: :deleted, else: :ok)

  @spec remember(config, filter, Routes.t(), name, type :: term, value :: term) :: true
  def remember(%{tag: tag}, %{counters_table: table}, routes, name, type, value) do
    row = {tag, name}
    # A number that no float holds is no error where constants are floats.
    read_as =
      case compared(routes, type, value) do
        ^type -> [type]
        other -> [other, type]
      end

    case :ets.lookup(table, row) do
      [{_, ^type, ^type, _native}] when read_as == [type] ->
        true

      [{_, types, all, _native}] ->
        newest? = type == if(is_list(types), do: hd(types), else: types)
        read? = is_list(all) and Enum.all?(read_as, &(&1 in all))
        (newest? and read?) or put(table, row, routes, with_type(type, types), {read_as, all})

      [] ->
        put(table, row, routes, with_type(type, []), {read_as, []})
    end
  end

  # The newest first; alone, it is no list.
  defp with_type(type, types) do
    case [type | types |> List.wrap() |> List.delete(type)] do
      [type] when not is_list(type) -> type
      types -> types
    end
  end

  defp put(table, {_tag, name} = row, routes, types, {read_as, all}) do
    read_as = Enum.reduce(read_as, all, &with_type/2)
    :ets.insert(table, {row, types, read_as, native(routes, name, read_as)})
  end

  defp native(routes, name, read_as) do
    with true <- Engine.native?(routes, read_as),
         code when is_binary(code) <- Native.name_code(name) do
      {routes.index.ref, code}
    else
      _other -> nil
    end
  end

  defp forget(%{tag: tag}, %{counters_table: table}, name) do
    :ets.delete(table, {tag, name})
    :deleted
  end

  @doc "The types of a namespace's constants, and those that text is read as; nil if it has none."
  @spec types(config, filter, name) :: {types :: term, read_as :: term} | nil
  def types(%{tag: tag}, %{counters_table: table}, name) do
    case :ets.lookup(table, {tag, name}) do
      [{_, types, read_as, _native}] -> {types, read_as}
      [] -> nil
    end
  end

  @doc "What a record's value leads to, with the types it was read as; nil if there is none."
  @spec read(config, filter, name, field :: term, record :: map) ::
          {types :: term, Native.targets() | :error} | nil
  def read(%{tag: tag} = config, %{counters_table: table} = filter, name, field, record) do
    with %{^field => text} when not is_nil(text) <- record,
         [{_, types, read_as, native}] <- :ets.lookup(table, {tag, name}) do
      with {ref, code} when is_short(text) <- native,
           {ids, others} when is_list(ids) <- Native.text_get_in(ref, code, read_as, text) do
        {types, {ids, others}}
      else
        # Text that doesn't parse, a long answer, or what is not read natively.
        _other -> {types, config |> routes(filter) |> Engine.read(name, read_as, text)}
      end
    else
      _no_value_or_type -> nil
    end
  end

  @doc "All that a namespace leads to."
  @spec all(config, filter, name) :: {MapSet.t(), others :: [term]}
  def all(config, filter, name) do
    case types(config, filter, name) do
      nil -> {MapSet.new(), []}
      _types -> config |> routes(filter) |> Engine.set(name)
    end
  end

  @doc "Raises what the filter rescues, to take all shapes of the condition."
  @spec unread!(field :: term, types :: term) :: no_return
  def unread!(field, types) do
    type = if is_list(types), do: hd(types), else: types
    raise "Could not parse value for field #{inspect(field)} of type #{inspect(type)}"
  end
end
