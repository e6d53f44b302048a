defmodule LsmIndex.Routes do
  @moduledoc """
  Routes of many conditions on many fields in one index: which shapes does a changed value reach?

  A *namespace* stands for one field of one condition, and is named by any term but `nil`, such as
  `{condition_id, "user_id"}`. It has constants and shape ids of its own. It comes with its first
  shape and is gone with its last.

      iex> alias LsmIndex.Routes
      iex> {:ok, routes} = Routes.open(:memory)
      iex> Routes.add(routes, {1, "user_id"}, :int8, 42, "shape-1")
      :ok
      iex> Routes.affected(routes, {1, "user_id"}, :int8, "42")
      {:ok, ["shape-1"], []}
      iex> Routes.affected(routes, {2, "user_id"}, :int8, "42")
      {:ok, [], []}

  ## Shape ids and conditions

  A constant leads to the ids of shapes whose clause is decided by it, and to *conditions*: names,
  of whatever the caller keeps, under which to look further for the shapes that have more to their
  clauses. Both are any terms. In an index with a path, terms that hold pids, ports, references or
  functions are refused, as they would mean nothing after a restart.

  ## Equality

  With `keys: :canonical` (the default), two constants are one if they are equal in SQL, see
  `LsmIndex.Key`. With `keys: :exact` they are one if they are the same Erlang term, so that `1` and
  `1.0` differ, as they do in ETS; a parser is needed then.
  """

  alias LsmIndex.{Error, Key, Names, Native, Postgres, Reconciler, Writer}

  @enforce_keys [:index]
  defstruct [:index, :parser, keys: :canonical]

  @type t :: %__MODULE__{
          index: LsmIndex.t(),
          keys: :canonical | :exact,
          parser: parser | nil
        }

  @typedoc "Reads the text of a value of a type that is not one of `LsmIndex.Postgres.types/0`."
  @type parser :: (text :: binary, type :: term -> {:ok, value :: term} | :error)

  @typedoc "Any term but `nil`, of 65 535 bytes at the most as docs/format.md encodes it."
  @type namespace :: term

  @type shape_id :: term
  @type condition :: term
  @type type :: term

  # Of longer ones the key may be a digest, which is made in Elixir.
  @max_text Key.max_text()
  @native Postgres.types()

  @doc false
  defguard is_short(text) when is_binary(text) and byte_size(text) <= @max_text

  @doc """
  Opens an index of routes, as `LsmIndex.open/2` does, with two options more: `:keys` and
  `:parser`, a function of text and type, for types that are not known here.
  """
  @spec open(String.t() | :memory, keyword) :: {:ok, t} | {:error, Error.t()}
  def open(path, options \\ []) do
    {own, options} = Keyword.split(options, [:keys, :parser])
    # First of all: an index that is open would stay so.
    own = settings!(own)
    with {:ok, index} <- LsmIndex.open(path, options), do: {:ok, make(index, own)}
  end

  @doc """
  The routes of an index that is open already, such as one under a supervisor, by its name.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.Routes.new(index).keys
      :canonical
  """
  @spec new(LsmIndex.index(), keyword) :: t
  def new(index, options \\ []), do: index |> Names.fetch!() |> make(settings!(options))

  defp make(index, settings), do: struct!(%__MODULE__{index: index}, settings)

  @doc "Closes the index, see `LsmIndex.close/1`."
  @spec close(t) :: :ok | {:error, Error.t()}
  def close(%__MODULE__{index: index}), do: LsmIndex.close(index)

  @doc """
  Files a shape whose clause is decided by `field = value`. Doing so again changes nothing.

  Raises `ArgumentError` for what is no constant of the type, and for a shape id that cannot be
  stored.
  """
  @spec add(t, namespace, type, value :: term, shape_id) :: :ok | {:error, Error.t()}
  def add(%__MODULE__{} = routes, namespace, type, value, shape_id),
    do: routes |> change(:put, namespace, key!(routes, type, value), {shape_id}) |> done()

  @doc "Takes back `add/5` with the same arguments. What is not there is no error."
  @spec remove(t, namespace, type, value :: term, shape_id) :: :ok | {:error, Error.t()}
  def remove(%__MODULE__{} = routes, namespace, type, value, shape_id) do
    case key(routes, type, value) do
      {:ok, key} -> routes |> change(:delete, namespace, key, {shape_id}) |> done()
      :error -> :ok
    end
  end

  @doc "Files a condition under which shapes with the constant, and more to their clauses, are."
  @spec add_condition(t, namespace, type, value :: term, condition) :: :ok | {:error, Error.t()}
  def add_condition(%__MODULE__{} = routes, namespace, type, value, condition),
    do: routes |> change(:put, namespace, key!(routes, type, value), [condition]) |> done()

  @doc "Takes back `add_condition/5`."
  @spec remove_condition(t, namespace, type, value :: term, condition) ::
          :ok | {:error, Error.t()}
  def remove_condition(%__MODULE__{} = routes, namespace, type, value, condition) do
    case key(routes, type, value) do
      {:ok, key} -> routes |> change(:delete, namespace, key, [condition]) |> done()
      :error -> :ok
    end
  end

  @doc """
  What the text that PostgreSQL prints for a value leads to: ids of shapes, and conditions under
  which to look further. `nil` leads nowhere.

  `:error` if it is no text of the type. Of several types, those that read it count: constants of
  each are found.

      iex> {:ok, routes} = LsmIndex.Routes.open(:memory)
      iex> LsmIndex.Routes.add(routes, :prices, :numeric, 1.5, "shape-1")
      iex> LsmIndex.Routes.add_condition(routes, :prices, :numeric, 1.5, 17)
      iex> LsmIndex.Routes.affected(routes, :prices, :numeric, "1.50")
      {:ok, ["shape-1"], [17]}
      iex> LsmIndex.Routes.affected(routes, :prices, [:int4, :numeric], "1.50")
      {:ok, ["shape-1"], [17]}
      iex> LsmIndex.Routes.affected(routes, :prices, :int4, "1.50")
      :error
  """
  @spec affected(t, namespace, type | [type], text :: binary | nil) ::
          {:ok, [shape_id], [condition]} | :error
  def affected(%__MODULE__{} = routes, namespace, types, text),
    do: routes |> read(namespace, types, text) |> answer()

  @doc """
  `affected/4` of many values, in the order asked, and in one call of the library if all are of known
  types: the changes of a transaction, say.

      iex> {:ok, routes} = LsmIndex.Routes.open(:memory)
      iex> LsmIndex.Routes.add(routes, :ids, :int8, 1, "shape-1")
      iex> LsmIndex.Routes.affected_many(routes, [{:ids, :int8, "1"}, {:ids, :int8, "2"}])
      [{:ok, ["shape-1"], []}, {:ok, [], []}]
  """
  @spec affected_many(t, [{namespace, type | [type], text :: binary | nil}]) ::
          [{:ok, [shape_id], [condition]} | :error]
  def affected_many(%__MODULE__{} = routes, questions) do
    Enum.zip_with(questions, read_many(routes, questions), fn
      # What constants of several types lead to is found with each of them.
      {_, [_, _ | _], _}, {ids, others} -> answer({Enum.uniq(ids), Enum.uniq(others)})
      _question, found -> answer(found)
    end)
  end

  @doc """
  All shape ids and conditions of a namespace, each once, in no particular order. Takes time in
  proportion to their number, whatever else is in the index.

      iex> {:ok, routes} = LsmIndex.Routes.open(:memory)
      iex> for n <- 1..3, do: LsmIndex.Routes.add(routes, :ids, :int8, n, "shape")
      iex> LsmIndex.Routes.all(routes, :ids)
      {["shape"], []}
  """
  @spec all(t, namespace) :: {[shape_id], [condition]}
  def all(%__MODULE__{} = routes, namespace) do
    reduce(routes, namespace, {[], []}, fn {ids, others}, {all_ids, conditions} ->
      {ids ++ all_ids, for([condition] <- others, do: condition) ++ conditions}
    end)
  end

  @doc "The number of shape ids and conditions of a namespace."
  @spec count(t, namespace) :: non_neg_integer
  def count(%__MODULE__{index: index}, namespace),
    do: index.ref |> Native.namespace_count(namespace) |> ok!()

  @doc "The names of all namespaces."
  @spec namespaces(t) :: [namespace]
  def namespaces(%__MODULE__{index: index}) do
    index.ref
    |> Native.list_names()
    |> ok!()
    |> slices([], fn {names, []}, all -> names ++ all end)
  end

  @doc """
  Drops a namespace with all it has, in one step whatever that is. What it took comes back with
  background work.

      iex> {:ok, routes} = LsmIndex.Routes.open(:memory)
      iex> LsmIndex.Routes.add(routes, :ids, :int8, 1, "shape-1")
      iex> LsmIndex.Routes.drop(routes, :ids)
      :ok
      iex> LsmIndex.Routes.affected(routes, :ids, :int8, "1")
      {:ok, [], []}
  """
  @spec drop(t, namespace) :: :ok | {:error, Error.t()}
  def drop(%__MODULE__{index: index}, namespace),
    do: index.ref |> Native.namespace_drop(namespace, index.durability) |> done()

  @doc """
  Brings the routes in line with those that should be: all of an enumerable of
  `{namespace, type, value, shape_id}` and `{:condition, namespace, type, value, condition}`. Adds
  what is missing, and removes what is not named from all namespaces. Answers how many routes were
  `:kept`, `:added` and `:removed`; conditions count as routes.

  It is meant for the time after a restart: the index routes at once, and what its source knows
  better is put right meanwhile. Routes that are added by others while this runs stay, whether they
  are named or not. It holds 16 bytes for each route.

      iex> alias LsmIndex.Routes
      iex> {:ok, routes} = Routes.open(:memory)
      iex> for n <- 1..3, do: Routes.add(routes, :ids, :int8, n, "shape-\#{n}")
      iex> Routes.reconcile(routes, [{:ids, :int8, 1, "shape-1"}, {:ids, :int8, 9, "shape-9"}])
      {:ok, %{kept: 1, added: 1, removed: 2}}
      iex> Routes.affected(routes, :ids, :int8, "2")
      {:ok, [], []}
  """
  @spec reconcile(
          t,
          Enumerable.t(
            {namespace, type, value :: term, shape_id}
            | {:condition, namespace, type, value :: term, condition}
          )
        ) ::
          {:ok, %{kept: non_neg_integer, added: non_neg_integer, removed: non_neg_integer}}
          | {:error, Error.t()}
  def reconcile(%__MODULE__{} = routes, wanted) do
    Reconciler.run(routes.index, true, wanted, fn
      {:condition, namespace, type, value, condition} ->
        {named!(namespace), key!(routes, type, value), [condition]}

      {namespace, type, value, shape_id} ->
        {named!(namespace), key!(routes, type, value), {shape_id}}
    end)
  end

  @doc "Says how far the routes have seen, see `LsmIndex.put_stamp/2`."
  @spec put_stamp(t, term) :: :ok | {:error, Error.t()}
  def put_stamp(%__MODULE__{index: index}, stamp), do: LsmIndex.put_stamp(index, stamp)

  @doc "The stamp that was put last, `nil` if there is none."
  @spec stamp(t) :: term
  def stamp(%__MODULE__{index: index}), do: LsmIndex.stamp(index)

  ## For the adapters

  @doc false
  @spec settings!(keyword) :: keyword
  def settings!(options) do
    options = Keyword.validate!(options, [:parser, keys: :canonical])
    keys = options[:keys]
    parser = options[:parser]

    if keys not in [:canonical, :exact],
      do: raise(ArgumentError, "keys: must be :canonical or :exact, got: #{inspect(keys)}")

    if not (is_nil(parser) or is_function(parser, 2)) do
      raise ArgumentError, "parser: must be a function of two arguments, got: #{inspect(parser)}"
    end

    if keys == :exact and is_nil(parser),
      do: raise(ArgumentError, "keys: :exact takes a parser:, whose terms are compared")

    options
  end

  @doc false
  @spec key(t, type, value :: term) :: {:ok, Key.t()} | :error
  def key(_routes, _type, nil), do: :error
  def key(%__MODULE__{keys: :canonical}, type, value), do: Key.encode(type, value)
  def key(%__MODULE__{keys: :exact}, _type, value), do: Key.exact(value)

  @doc false
  @spec change(t, :put | :delete, namespace, Key.t(), Native.target()) ::
          :changed | :unchanged | :emptied | {:error, Error.t()}
  def change(%__MODULE__{index: index}, op, namespace, key, target) do
    namespace = named!(namespace)
    operation = if op == :put, do: :add_shape, else: :remove_shape

    case Writer.route(index, op, namespace, key, target, operation) do
      # A shape that cannot be stored.
      {:error, {:invalid_argument, message, _detail}} -> raise ArgumentError, message
      answer -> Error.wrap(answer)
    end
  end

  @doc false
  @spec targets(t, namespace, Key.t()) :: Native.targets()
  def targets(%__MODULE__{index: %{ref: ref}}, namespace, key) do
    case Native.route_get(ref, namespace, key) do
      :large -> ref |> Native.route_get_dirty(namespace, key) |> ok!()
      answer -> ok!(answer)
    end
  end

  @doc false
  @spec read(t, namespace, type | [type], text :: binary | nil) :: Native.targets() | :error
  def read(_routes, _namespace, _types, nil), do: {[], []}

  def read(%__MODULE__{keys: :canonical, index: %{ref: ref}}, namespace, type, text)
      when type in @native and is_short(text),
      do: read_natively(ref, namespace, type, text)

  def read(_routes, _namespace, _types, text) when not is_binary(text), do: :error

  def read(routes, namespace, [type], text), do: read_as(routes, namespace, type, text)

  def read(routes, namespace, types, text) when is_list(types) do
    case for(type <- types, {_, _} = found <- [read_as(routes, namespace, type, text)], do: found) do
      [] when types != [] -> :error
      found -> Enum.reduce(found, {[], []}, &union/2)
    end
  end

  def read(routes, namespace, type, text), do: read_as(routes, namespace, type, text)

  # One type, though it may be a list.
  defp read_as(%{keys: :canonical, index: %{ref: ref}}, namespace, type, text)
       when type in @native and is_short(text),
       do: read_natively(ref, namespace, type, text)

  defp read_as(routes, namespace, type, text) do
    case text_key(routes, type, text) do
      {:ok, key} -> targets(routes, namespace, key)
      nil -> {[], []}
      :error -> :error
    end
  end

  @doc false
  # Of types for which `native?/2` holds.
  @spec read_natively(Native.ref(), namespace, type | [type], text :: binary) ::
          Native.targets() | :error
  def read_natively(ref, namespace, types, text) do
    case Native.text_get(ref, namespace, types, text) do
      {[_ | _], _others} = found -> found
      {[], _others} = found -> found
      :error -> :error
      :large -> ref |> Native.text_get_many_dirty([{namespace, types, text}]) |> ok!() |> hd()
      answer -> ok!(answer)
    end
  end

  @doc false
  @spec read_many(t, [{namespace, type | [type], text :: binary | nil}]) ::
          [Native.targets() | :error]
  def read_many(%__MODULE__{index: %{ref: ref}} = routes, questions) do
    if Enum.all?(questions, fn {_, types, text} -> is_short(text) and native?(routes, types) end) do
      case Native.text_get_many(ref, questions) do
        :large -> ref |> Native.text_get_many_dirty(questions) |> ok!()
        answers -> ok!(answers)
      end
    else
      for {namespace, types, text} <- questions, do: read(routes, namespace, types, text)
    end
  end

  @doc false
  @spec reduce(t, namespace, acc, (Native.targets(), acc -> acc)) :: acc when acc: term
  def reduce(%__MODULE__{index: index}, namespace, acc, fun),
    do: index.ref |> Native.list_begin(namespace) |> ok!() |> slices(acc, fun)

  # What sets are made of, in every release so far; if that changes, it is only slower.
  @set_of_one MapSet.new([1])
  @set_is_map match?(%{map: %{1 => []}}, @set_of_one) and
                %{MapSet.new() | map: %{1 => []}} == @set_of_one

  @doc false
  @spec set(t, namespace) :: {MapSet.t(), others :: [term]}
  def set(%__MODULE__{index: index}, namespace) do
    {map, others} = index.ref |> Native.list_set(namespace) |> ok!()
    set = if @set_is_map, do: %{MapSet.new() | map: map}, else: MapSet.new(Map.keys(map))
    {set, others}
  end

  defp slices(listing, acc, fun) do
    case ok!(Native.list_next(listing)) do
      {[], []} -> acc
      slice -> slices(listing, fun.(slice, acc), fun)
    end
  end

  @doc false
  # Whether texts of the types are read by the NIF, if they are short.
  @spec native?(t, type | [type]) :: boolean
  def native?(%__MODULE__{keys: :canonical}, types) when is_list(types),
    do: Enum.all?(types, &(&1 in @native))

  def native?(%__MODULE__{keys: :canonical}, type), do: type in @native
  def native?(_routes, _types), do: false

  defp text_key(%{keys: :canonical}, type, text) when type in @native,
    do: Key.encode_text(type, text)

  defp text_key(%{parser: nil}, type, _text) do
    raise ArgumentError,
          "unknown type #{inspect(type)}: give parser: a function that reads its text"
  end

  defp text_key(%{parser: parser} = routes, type, text) do
    case parser.(text, type) do
      {:ok, nil} -> nil
      {:ok, value} -> key(routes, type, value)
      :error -> :error
    end
  end

  # That is what the NIF calls the index itself.
  defp named!(nil), do: raise(ArgumentError, "nil is the name of no namespace")
  defp named!(namespace), do: namespace

  defp key!(routes, type, value) do
    case key(routes, type, value) do
      {:ok, key} -> key
      :error when is_nil(value) -> raise ArgumentError, "nil equals nothing: it is no constant"
      :error -> raise ArgumentError, "no constant of type #{inspect(type)}: #{inspect(value)}"
    end
  end

  defp union({ids, others}, {all_ids, all_others}),
    do: {Enum.uniq(ids ++ all_ids), Enum.uniq(others ++ all_others)}

  defp answer(:error), do: :error
  defp answer({ids, others}), do: {:ok, ids, for([condition] <- others, do: condition)}

  defp done({:error, %Error{} = error}), do: {:error, error}
  defp done({:error, native}), do: Error.wrap({:error, native})
  defp done(_changed), do: :ok

  defp ok!({:error, native}), do: raise(Error.from_native(native))
  defp ok!(answer), do: answer
end
