defimpl LsmIndex.Index.Protocol, for: LsmEqualityIndex do
  import LsmEqualityIndex, only: [check_residual!: 2, target: 2]
  alias LsmIndex.{Error, Key, Routes, Writer}
  alias LsmIndex.Routes.Engine

  def empty?(%{lsm: lsm}), do: LsmIndex.empty?(lsm)

  def add_shape(%{lsm: lsm} = index, value, shape_id, and_where) do
    key = LsmEqualityIndex.key!(index, value)
    check_residual!(index, and_where)

    change(lsm, :put, key, target(shape_id, and_where), :add_shape)
    index
  end

  def remove_shape(%{lsm: lsm} = index, value, shape_id, and_where) do
    # A value without a key was never added.
    with {:ok, key} <- Key.encode(index.type, value),
         target = target(shape_id, and_where),
         :unchanged <- change(lsm, :delete, key, target, :remove_shape),
         false <- every?(target, &one_form?/1) do
      # Equal terms can differ in their bytes, such as closures that two processes made.
      for stored <- stored(index, key), stored === target do
        change(lsm, :delete, key, stored, :remove_shape)
      end
    end

    index
  end

  def affected_shapes(index, field, record, shapes) do
    with %{^field => text} when not is_nil(text) <- record,
         key when not is_nil(key) <- read!(index, field, text) do
      LsmEqualityIndex.found(index, targets(index, key), record, shapes)
    else
      _no_value -> MapSet.new()
    end
  end

  def all_shape_ids(%{lsm: lsm}) do
    # The set grows bit by bit: built in one go, a large one keeps a scheduler for milliseconds.
    Engine.reduce(%Routes{index: lsm}, nil, MapSet.new(), fn {ids, others}, shape_ids ->
      others |> ids_of(ids) |> Enum.into(shape_ids)
    end)
  end

  defp read!(index, field, text) do
    case read(index, text) do
      {:ok, key} ->
        key

      nil ->
        nil

      :error ->
        LsmEqualityIndex.unread!(index, field)
    end
  end

  defp read(_index, text) when not is_binary(text), do: :error
  defp read(%{type: type, parser: nil}, text), do: Key.encode_text(type, text)

  defp read(%{type: type, parser: parser}, text) do
    case parser.(text) do
      {:ok, nil} -> nil
      {:ok, value} -> Key.encode(type, value)
      :error -> :error
      other -> raise ArgumentError, parser_fault(type, text, other)
    end
  end

  defp parser_fault(type, text, returned) do
    "the parser of type #{inspect(type)} must return {:ok, value} or :error, " <>
      "but returned #{inspect(returned)} for #{inspect(text)}"
  end

  defp targets(%{lsm: lsm}, key), do: Engine.targets(%{index: lsm}, nil, key)

  # As they were put.
  defp stored(index, key) do
    {ids, others} = targets(index, key)
    others ++ Enum.map(ids, &target(&1, nil))
  end

  defp change(lsm, op, key, target, operation),
    do: lsm |> Writer.route(op, nil, key, target, operation) |> ok!()

  defp ids_of(others, ids), do: Enum.reduce(others, ids, fn {id, _rest}, ids -> [id | ids] end)

  # Whether it is true of all that a term is made of.
  defp every?([head | tail], true?), do: every?(head, true?) and every?(tail, true?)
  defp every?(tuple, true?) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> every?(true?)
  defp every?(map, true?) when is_map(map), do: map |> Map.to_list() |> every?(true?)
  defp every?(term, true?), do: true?.(term)

  # Functions differ in their bytes, and before OTP 27, 0.0 and -0.0 are equal.
  defp one_form?(term) do
    is_bitstring(term) or is_atom(term) or is_integer(term) or term == [] or
      (is_float(term) and term != 0.0)
  end

  # A shape that cannot be stored.
  defp ok!({:error, {:invalid_argument, message, _detail}}), do: raise(ArgumentError, message)
  defp ok!({:error, native}), do: raise(Error.from_native(native))
  defp ok!(answer), do: answer
end
