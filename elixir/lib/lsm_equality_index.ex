defmodule LsmEqualityIndex do
  @moduledoc """
  The route index for clauses of the form `field = constant`, behind `LsmIndex.Index`.

      iex> alias LsmIndex.Index
      iex> index = LsmEqualityIndex.new(:numeric)
      iex> index = Index.add_shape(index, 1.5, "shape-1", nil)
      iex> Index.affected_shapes(index, "price", %{"price" => "1.50"}, %{})
      MapSet.new(["shape-1"])

  An index holds the clauses on one field, and is asked with that field's text as PostgreSQL sends
  it. `LsmIndex.Key` says which constants a type takes, and which of them are equal.

  ## It is mutable

  `LsmIndex.Index.add_shape/4` and `LsmIndex.Index.remove_shape/4` return the index they were
  given, changed in place: an index kept from before a removal does not hold the shape any more
  either. Any process may use it, many at once.

  ## In memory or in a directory

  Without `path:`, an index takes microseconds to make and a few kilobytes, has no process and no
  file, and is freed with the last reference to it, so throw-away indexes need no care.

  With `path:`, it is stored in that directory and there again when it is opened next. It belongs
  to the process that called `new/2`, is closed when that process ends, and before that by
  `close/1`. The directory does not know the type: open it with the type, and with a parser that
  gives the same values, that it was written with. Shape ids and rests of clauses must then mean
  something after a restart, so ones that hold pids, ports, references or functions are refused.
  """

  require LsmIndex.Routes.Engine
  alias LsmIndex.{Error, Key, Loader, Postgres, Reconciler, Routes}
  alias LsmIndex.Routes.Engine

  @enforce_keys [:type, :lsm]
  defstruct [:type, :lsm, :residual, :parser]

  @type t :: %__MODULE__{
          type: term,
          lsm: LsmIndex.t(),
          residual: residual | nil,
          parser: parser | nil
        }

  @typedoc "Decides whether the rest of a shape's clause holds for a record."
  @type residual :: (and_where :: term, LsmIndex.Index.row(), shape :: term -> boolean)

  @typedoc "Reads the text of a record."
  @type parser :: (text :: binary -> {:ok, value :: term} | :error)

  @doc """
  Makes an index of clauses on a field of the given type: one of `LsmIndex.Postgres.types/0`, or
  any term with a `parser:`.

  Options:

    * `:path` - the directory to store the index in; without it, the index is in memory.
    * `:residual` - `fn and_where, record, shape -> boolean end`, asked about every shape that was
      added with an `and_where` and whose constant matches. `shape` is what the map given to
      `LsmIndex.Index.affected_shapes/4` holds under the shape's id. Without it, only shapes with
      the `and_where` `nil` can be added.
    * `:parser` - `fn text -> {:ok, value} | :error end`, reads the text of records instead of
      `LsmIndex.Postgres`. The constants given to `LsmIndex.Index.add_shape/4` are then values
      such as the parser returns.
    * all others as in `LsmIndex.open/2`.

  Raises `ArgumentError` for an unknown type, `LsmIndex.Error` for what `LsmIndex.open/2` refuses.

      iex> index = LsmEqualityIndex.new(:citext, parser: &{:ok, String.downcase(&1)})
      iex> index = LsmIndex.Index.add_shape(index, "anna", "shape-1", nil)
      iex> LsmIndex.Index.affected_shapes(index, "name", %{"name" => "ANNA"}, %{})
      MapSet.new(["shape-1"])
  """
  @spec new(type :: term, keyword) :: t
  def new(type, options \\ []) do
    if not Keyword.keyword?(options),
      do: raise(ArgumentError, "options must be a keyword list, got: #{inspect(options)}")

    {path, options} = Keyword.pop(options, :path, :memory)
    {residual, options} = pop_function(options, :residual, 3)
    {parser, options} = pop_function(options, :parser, 1)

    if is_nil(parser) and type not in Postgres.types() do
      raise ArgumentError,
            "unknown type #{inspect(type)}: give parser: a function that reads its text, " <>
              "or one of #{inspect(Postgres.types())}"
    end

    case LsmIndex.open(path, options) do
      {:ok, lsm} -> %__MODULE__{type: type, lsm: lsm, residual: residual, parser: parser}
      {:error, error} -> raise error
    end
  end

  @doc """
  Adds many shapes at once, from an enumerable of `{value, shape_id}`, and much faster than
  `LsmIndex.Index.add_shape/4` would one by one.

  The shape ids are integers from 0 to 2^30-1, and nothing is left of their clauses. Returns the
  number of pairs taken.

      iex> index = LsmEqualityIndex.new(:int8)
      iex> LsmEqualityIndex.load(index, for(n <- 1..1000, do: {n, n}))
      {:ok, 1000}
      iex> LsmIndex.Index.affected_shapes(index, "id", %{"id" => "7"}, %{})
      MapSet.new([7])
  """
  @spec load(t, Enumerable.t()) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def load(%__MODULE__{} = index, shapes) do
    with :ok <- Loader.check_enumerable(shapes) do
      LsmIndex.load(index.lsm, Stream.map(shapes, &pair!(index, &1)))
    end
  end

  @doc """
  The shapes of each of many records, in the order given, as
  `LsmIndex.Index.affected_shapes/4` tells them one by one: the changes of a transaction in one
  call. `shapes` is for the `residual:`. Raises if any record's text does not parse; asked one by one,
  the others are answered.

      iex> index = LsmEqualityIndex.new(:int8)
      iex> index = LsmIndex.Index.add_shape(index, 1, "shape-1", nil)
      iex> LsmEqualityIndex.affected_shapes_many(index, "id", [%{"id" => "1"}, %{"id" => nil}])
      [MapSet.new(["shape-1"]), MapSet.new()]
  """
  @spec affected_shapes_many(t, LsmIndex.Index.field(), [LsmIndex.Index.row()], map) ::
          [MapSet.t()]
  def affected_shapes_many(%__MODULE__{} = index, field, records, shapes \\ %{}) do
    texts = for record <- records, do: Map.get(record, field)

    if is_nil(index.parser) and Enum.all?(texts, &(is_nil(&1) or Engine.is_short(&1))) do
      questions = for text <- texts, not is_nil(text), do: {nil, index.type, text}
      answers = Engine.read_many(%Routes{index: index.lsm}, questions)
      answered(index, field, records, texts, answers, shapes)
    else
      for record <- records,
          do: LsmIndex.Index.affected_shapes(index, field, record, shapes)
    end
  end

  defp answered(index, field, [_record | records], [nil | texts], answers, shapes),
    do: [MapSet.new() | answered(index, field, records, texts, answers, shapes)]

  defp answered(index, field, [record | records], [_text | texts], [answer | answers], shapes) do
    if answer == :error, do: unread!(index, field)
    found = found(index, answer, record, shapes)
    [found | answered(index, field, records, texts, answers, shapes)]
  end

  defp answered(_index, _field, [], [], [], _shapes), do: []

  @doc """
  Brings the index in line with the shapes that should be in it, an enumerable of
  `{value, shape_id, and_where}`, see `LsmIndex.Routes.reconcile/2`.

      iex> index = LsmEqualityIndex.new(:int8)
      iex> for n <- 1..3, do: LsmIndex.Index.add_shape(index, n, "shape-\#{n}", nil)
      iex> LsmEqualityIndex.reconcile(index, [{1, "shape-1", nil}, {9, "shape-9", nil}])
      {:ok, %{kept: 1, added: 1, removed: 2}}
  """
  @spec reconcile(
          t,
          Enumerable.t({value :: term, shape_id :: term, and_where :: term})
        ) ::
          {:ok, %{kept: non_neg_integer, added: non_neg_integer, removed: non_neg_integer}}
          | {:error, Error.t()}
  def reconcile(%__MODULE__{} = index, shapes) do
    Reconciler.run(index.lsm, false, shapes, fn {value, shape_id, and_where} ->
      {nil, key!(index, value), target(shape_id, and_where)}
    end)
  end

  @doc """
  Counters of the underlying index, see `LsmIndex.stats/1`.

      iex> LsmEqualityIndex.stats(LsmEqualityIndex.new(:int8, num_lanes: 8)).num_lanes
      8
  """
  @spec stats(t) :: map
  def stats(%__MODULE__{lsm: lsm}), do: LsmIndex.stats(lsm)

  @doc """
  Bytes by part and in `:total`, see `LsmIndex.memory/1`.

      iex> LsmEqualityIndex.memory(LsmEqualityIndex.new(:int8)).total < 16_384
      true
  """
  @spec memory(t) :: map
  def memory(%__MODULE__{lsm: lsm}), do: LsmIndex.memory(lsm)

  @doc """
  Writes what is in memory to segments, see `LsmIndex.flush/1`.

      iex> LsmEqualityIndex.flush(LsmEqualityIndex.new(:int8))
      :ok
  """
  @spec flush(t) :: :ok | {:error, Error.t()}
  def flush(%__MODULE__{lsm: lsm}), do: LsmIndex.flush(lsm)

  @doc """
  Brings every lane down to one segment, see `LsmIndex.compact/1`.

      iex> LsmEqualityIndex.compact(LsmEqualityIndex.new(:int8))
      :ok
  """
  @spec compact(t) :: :ok | {:error, Error.t()}
  def compact(%__MODULE__{lsm: lsm}), do: LsmIndex.compact(lsm)

  @doc """
  Closes the index: what has a path is stored, all memory freed. Closing again is harmless.

      iex> index = LsmEqualityIndex.new(:int8)
      iex> {LsmEqualityIndex.close(index), LsmEqualityIndex.close(index)}
      {:ok, :ok}
      iex> LsmIndex.Index.empty?(index)
      ** (LsmIndex.Error) the index is closed
  """
  @spec close(t) :: :ok | {:error, Error.t()}
  def close(%__MODULE__{lsm: lsm}), do: LsmIndex.close(lsm)

  @doc false
  @spec key!(t, term) :: Key.t()
  def key!(%__MODULE__{type: type}, value) do
    case Key.encode(type, value) do
      {:ok, key} -> key
      :error when is_nil(value) -> raise ArgumentError, "nil equals nothing: it is no constant"
      :error -> raise ArgumentError, "no constant of type #{inspect(type)}: #{inspect(value)}"
    end
  end

  # An id that is a small integer, with nothing left of its clause, is stored as it is. All other
  # shapes are terms, which the engine keeps once however many keys lead to them.
  @max_plain_id 0x3FFF_FFFF

  @doc false
  @spec target(shape_id :: term, and_where :: term) :: LsmIndex.Native.target()
  def target(id, nil) when id in 0..@max_plain_id, do: id
  def target(id, nil), do: {id}
  def target(id, and_where), do: {id, and_where}

  @doc false
  # Of what a value leads to, the shapes that the record is in.
  def found(_index, {ids, []}, _record, _shapes), do: Engine.set_of(ids)

  def found(index, {ids, others}, record, shapes) do
    for {id, rest} <- others,
        holds?(index, id, rest, record, shapes),
        into: Engine.set_of(ids),
        do: id
  end

  defp holds?(%{residual: residual} = index, shape_id, and_where, record, shapes) do
    # A stored index can hold what needs an evaluator, and be opened without one.
    check_residual!(index, and_where)
    residual.(and_where, record, Map.get(shapes, shape_id))
  end

  @doc false
  def check_residual!(%{residual: nil}, and_where) when not is_nil(and_where) do
    raise ArgumentError,
          "the index was made without residual: and cannot decide #{inspect(and_where)}"
  end

  def check_residual!(_index, _and_where), do: :ok

  @doc false
  def unread!(%{type: type}, field),
    do: raise("Could not parse value for field #{inspect(field)} of type #{inspect(type)}")

  defp pop_function(options, name, arity) do
    case Keyword.pop(options, name) do
      {function, options} when is_nil(function) or is_function(function, arity) ->
        {function, options}

      {other, _options} ->
        raise ArgumentError,
              "option #{inspect(name)} must be a function of #{arity} arguments, " <>
                "got: #{inspect(other)}"
    end
  end

  defp pair!(index, {value, id}), do: {key!(index, value), id!(id)}

  defp pair!(_index, other),
    do: raise(ArgumentError, "load takes {value, shape_id}, got: #{inspect(other)}")

  defp id!(id) when id in 0..@max_plain_id, do: id

  defp id!(id) do
    raise ArgumentError,
          "load takes integers from 0 to #{@max_plain_id} as shape ids, got: #{inspect(id)}"
  end
end

defimpl Inspect, for: LsmEqualityIndex do
  def inspect(%{type: type, lsm: lsm}, _options) do
    "#LsmEqualityIndex<#{Kernel.inspect(type)}, #{Kernel.inspect(lsm)}>"
  end
end
