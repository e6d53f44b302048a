defmodule LsmIndex.Routes.Engine do
  @moduledoc false
  # What `LsmIndex.Routes` and the adapters do alike: from constants to keys and changes, from text to
  # what it leads to.

  alias LsmIndex.{Error, Key, Native, Postgres, Routes, Writer}

  # Of longer ones the key may be a digest, which is made in Elixir.
  @max_text Key.max_text()
  @native Postgres.types()
  # Questions that a normal scheduler answers in one call.
  @few 256

  defguard is_short(text) when is_binary(text) and byte_size(text) <= @max_text

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

  @spec key(Routes.t(), Routes.type(), value :: term) :: {:ok, Key.t()} | :error
  def key(_routes, _type, nil), do: :error
  def key(%{keys: :canonical}, type, value), do: Key.encode(type, value)
  def key(%{keys: :exact}, _type, value), do: Key.exact(value)

  @spec change(Routes.t(), :put | :delete, Routes.namespace(), Key.t(), Native.target()) ::
          :changed | :unchanged | :emptied | {:error, Error.t()}
  def change(%{index: index}, op, namespace, key, target) do
    namespace = named!(namespace)
    operation = if op == :put, do: :add_shape, else: :remove_shape

    case Writer.route(index, op, namespace, key, target, operation) do
      # A shape that cannot be stored.
      {:error, {:invalid_argument, message, _detail}} -> raise ArgumentError, message
      answer -> Error.wrap(answer)
    end
  end

  @spec targets(Routes.t(), Routes.namespace(), Key.t()) :: Native.targets()
  def targets(%{index: %{ref: ref}}, namespace, key) do
    case Native.route_get(ref, namespace, key) do
      :large -> ref |> Native.route_get_dirty(namespace, key) |> ok!()
      answer -> ok!(answer)
    end
  end

  @spec read(
          Routes.t(),
          Routes.namespace(),
          Routes.type() | [Routes.type()],
          text :: binary | nil
        ) :: Native.targets() | :error
  def read(_routes, _namespace, _types, nil), do: {[], []}

  def read(%{keys: :canonical, index: %{ref: ref}}, namespace, type, text)
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

  # Of types for which `native?/2` holds.
  @spec read_natively(
          Native.ref(),
          Routes.namespace(),
          Routes.type() | [Routes.type()],
          text :: binary
        ) ::
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

  @spec read_many(Routes.t(), [
          {Routes.namespace(), Routes.type() | [Routes.type()], text :: binary | nil}
        ]) ::
          [Native.targets() | :error]
  def read_many(routes, [{namespace, types, text}]), do: [read(routes, namespace, types, text)]

  def read_many(%{index: %{ref: ref}} = routes, questions) do
    if Enum.all?(questions, fn {_, types, text} -> is_short(text) and native?(routes, types) end) do
      case if(length(questions) <= @few, do: Native.text_get_many(ref, questions), else: :large) do
        :large -> ref |> Native.text_get_many_dirty(questions) |> ok!()
        answers -> ok!(answers)
      end
    else
      for {namespace, types, text} <- questions, do: read(routes, namespace, types, text)
    end
  end

  # More than that as one list keeps a scheduler for long when a set is made of it.
  @bit 4_096

  @doc "The set of a list, which grows bit by bit if that is long."
  @spec set_of([term]) :: MapSet.t()
  def set_of(ids) when length(ids) <= @bit, do: MapSet.new(ids)

  def set_of(ids) do
    ids
    |> Enum.chunk_every(@bit)
    |> Enum.reduce(MapSet.new(), &MapSet.union(&2, MapSet.new(&1)))
  end

  @spec reduce(Routes.t(), Routes.namespace(), acc, (Native.targets(), acc -> acc)) :: acc
        when acc: term
  def reduce(%{index: index}, namespace, acc, fun),
    do: index.ref |> Native.list_begin(namespace) |> ok!() |> slices(acc, fun)

  # What sets are made of, in every release so far; if that changes, it is only slower.
  @set_of_one MapSet.new([1])
  @set_is_map match?(%{map: %{1 => []}}, @set_of_one) and
                %{MapSet.new() | map: %{1 => []}} == @set_of_one

  @spec set(Routes.t(), Routes.namespace()) :: {MapSet.t(), others :: [term]}
  def set(%{index: index}, namespace) do
    {map, others} = index.ref |> Native.list_set(namespace) |> ok!()
    set = if @set_is_map, do: %{MapSet.new() | map: map}, else: MapSet.new(Map.keys(map))
    {set, others}
  end

  @spec slices(Native.listing(), acc, (Native.targets(), acc -> acc)) :: acc when acc: term
  def slices(listing, acc, fun) do
    case next_slice(listing) do
      :done -> acc
      slice -> slices(listing, fun.(slice, acc), fun)
    end
  end

  defp next_slice(listing) do
    case Native.list_next(listing) do
      :large -> listing |> Native.list_next_dirty() |> ok!()
      answer -> ok!(answer)
    end
  end

  # Whether texts of the types are read by the NIF, if they are short.
  @spec native?(Routes.t(), Routes.type() | [Routes.type()]) :: boolean
  def native?(%{keys: :canonical}, types) when is_list(types),
    do: Enum.all?(types, &(&1 in @native))

  def native?(%{keys: :canonical}, type), do: type in @native
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

  @doc "Refuses what the NIF calls the index itself."
  @spec named!(namespace) :: namespace when namespace: term
  def named!(nil), do: raise(ArgumentError, "nil is the name of no namespace")
  def named!(namespace), do: namespace

  @spec key!(Routes.t(), Routes.type(), value :: term) :: Key.t()
  def key!(routes, type, value) do
    case key(routes, type, value) do
      {:ok, key} -> key
      :error when is_nil(value) -> raise ArgumentError, "nil equals nothing: it is no constant"
      :error -> raise ArgumentError, "no constant of type #{inspect(type)}: #{inspect(value)}"
    end
  end

  defp union({ids, others}, {all_ids, all_others}),
    do: {Enum.uniq(ids ++ all_ids), Enum.uniq(others ++ all_others)}

  @spec ok!(Native.error() | answer) :: answer when answer: term
  def ok!({:error, native}), do: raise(Error.from_native(native))
  def ok!(answer), do: answer
end
