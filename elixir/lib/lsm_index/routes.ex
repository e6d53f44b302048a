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

  import LsmIndex.Routes.Engine
  alias LsmIndex.{Error, Names, Native, Options, Reconciler}

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

  @doc """
  The same routes, with another durability for the changes that are made through what this returns.

      iex> {:ok, routes} = LsmIndex.Routes.open(:memory)
      iex> routes |> LsmIndex.Routes.with_durability(:sync) |> LsmIndex.Routes.add(:ids, :int8, 1, 7)
      :ok
  """
  @spec with_durability(t, LsmIndex.durability()) :: t
  def with_durability(%__MODULE__{index: index} = routes, durability) do
    case Options.for_call(index, durability: durability) do
      {:ok, index} -> %{routes | index: index}
      {:error, error} -> raise ArgumentError, error.message
    end
  end

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
    do: routes |> read(named!(namespace), types, text) |> answer()

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
    for {namespace, _types, _text} <- questions, do: named!(namespace)

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
    reduce(routes, named!(namespace), {[], []}, fn {ids, others}, {all_ids, conditions} ->
      {ids ++ all_ids, for([condition] <- others, do: condition) ++ conditions}
    end)
  end

  @doc "The number of shape ids and conditions of a namespace."
  @spec count(t, namespace) :: non_neg_integer
  def count(%__MODULE__{index: index}, namespace),
    do: index.ref |> Native.namespace_count(named!(namespace)) |> ok!()

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
    do: index.ref |> Native.namespace_drop(named!(namespace), index.durability) |> done()

  @doc """
  Brings the routes in line with those that should be: all of an enumerable of
  `{namespace, type, value, shape_id}` and `{:condition, namespace, type, value, condition}`. Adds
  what is missing, and removes what is not named from all namespaces. Answers how many routes were
  `:kept`, `:added` and `:removed`; conditions count as routes.

  It is meant for the time after a restart: the index routes at once, and what its source knows
  better is put right meanwhile. Others may change routes while it runs: what they add stays, named
  or not; what they remove is added again if it is named afterwards. It holds 16 bytes for each route
  that is there when it begins, and shape ids that go while it runs give their memory back after it.

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

  defp answer(:error), do: :error
  defp answer({ids, others}), do: {:ok, ids, for([condition] <- others, do: condition)}

  defp done({:error, %Error{} = error}), do: {:error, error}
  defp done({:error, native}), do: Error.wrap({:error, native})
  defp done(_changed), do: :ok
end
