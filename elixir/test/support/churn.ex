defmodule LsmIndex.Churn do
  @moduledoc false
  # Writers whose changes follow from a seed and the number of the operation alone, so that whoever
  # knows how many a writer has made knows what has to be in the index. They run in a VM that is
  # killed, and report every operation when it is acknowledged.
  #
  # Each writer owns its keys. What it should have stored is a map from the number of a key to its
  # ids, descending; keys without ids are not in it.

  alias LsmIndex.{ChildVM, Error, Index}

  @type kind :: :pairs | :routes | :unlogged
  @type state :: %{non_neg_integer => [pos_integer, ...]}
  @type change :: {:put | :delete, key :: non_neg_integer, id :: pos_integer}

  @keys 150
  # Few enough that most sets are in their key's entry, enough for lists too.
  @most_ids 4

  @writers [:pairs, :pairs, :pairs, :routes, :unlogged] |> Enum.with_index()

  @doc "The writers' kinds and numbers."
  def writers, do: @writers

  ## What a writer does

  @doc "The changes of an operation, to be made together, and what its keys hold afterwards."
  @spec step({kind, integer}, seed :: integer, state, n :: pos_integer) :: {[change], state}
  def step(writer, seed, state, n) do
    draw = fn what, range -> :erlang.phash2({seed, writer, n, what}, range) end
    changes = changes(writer, draw, state, n)
    {changes, Enum.reduce(changes, state, &change/2)}
  end

  # Routes are changed one at a time, there is no batch of them.
  defp changes({:routes, _}, draw, state, n) do
    if draw.(:kind, 10) < 5, do: put(draw.(:key, @keys), n), else: drop_one(draw, state, n)
  end

  defp changes({:pairs, _}, draw, state, n) do
    case draw.(:kind, 200) do
      kind when kind < 70 -> put(draw.(:key, @keys), n)
      kind when kind < 110 -> drop_one(draw, state, n)
      kind when kind < 160 -> draw |> drawn_keys(2 + draw.(:size, 15)) |> renew(state, n)
      kind when kind < 199 -> draw |> drawn_keys(1 + draw.(:size, 8)) |> drop_all(state)
      # Too much for a normal scheduler.
      _large -> renew(Enum.to_list(0..(@keys - 1)), state, n)
    end
  end

  # These may be lost until a sync, one by one; they are only ever added.
  defp changes({:unlogged, _}, draw, _state, n), do: put(draw.(:key, @keys), n)

  defp put(key, n), do: [{:put, key, n}]

  defp drop_one(draw, state, n) do
    key = draw.(:key, @keys)
    [{:delete, key, hd(Map.get(state, key, [n]))}]
  end

  defp drawn_keys(draw, number), do: Enum.uniq(for m <- 1..number, do: draw.({:key, m}, @keys))

  defp renew(keys, state, n), do: Enum.flat_map(keys, &(put(&1, n) ++ drop_old(&1, state)))

  defp drop_old(key, state) do
    for id <- state |> Map.get(key, []) |> Enum.drop(@most_ids), do: {:delete, key, id}
  end

  # A batch of nothing would be no operation to speak of.
  defp drop_all(keys, state) do
    case for key <- keys, id <- Map.get(state, key, []), do: {:delete, key, id} do
      [] -> [{:delete, hd(keys), 1}]
      changes -> changes
    end
  end

  defp change({:put, key, n}, state), do: Map.update(state, key, [n], &[n | &1])

  defp change({:delete, key, id}, state) do
    case state |> Map.get(key, []) |> List.delete(id) do
      [] -> Map.delete(state, key)
      ids -> Map.put(state, key, ids)
    end
  end

  ## What is stored

  @doc "What the index holds of a writer's keys."
  @spec stored(LsmIndex.t(), {kind, integer}) :: state
  def stored(index, {:routes, _} = writer) do
    shapes = shapes(index)

    for key <- 0..(@keys - 1), into: %{} do
      record = %{"id" => to_string(route(writer, key))}
      found = Index.affected_shapes(shapes, "id", record, %{})
      {key, found |> Enum.map(fn "shape-" <> n -> String.to_integer(n) end) |> descending()}
    end
    |> without_empty()
  end

  def stored(index, writer) do
    keys = Enum.to_list(0..(@keys - 1))
    found = LsmIndex.get_many(index, Enum.map(keys, &key(writer, &1)))
    without_empty(for {key, ids} <- Enum.zip(keys, found), into: %{}, do: {key, descending(ids)})
  end

  defp descending(ids), do: Enum.sort(ids, :desc)
  defp without_empty(state), do: for({key, [_ | _] = ids} <- state, into: %{}, do: {key, ids})

  defp key({_kind, number}, key), do: "writer:#{number}:#{key}"
  defp route({_kind, number}, key), do: 1_000 * number + key
  defp shapes(index), do: %LsmEqualityIndex{type: :int8, lsm: index}

  ## In the VM that is killed

  @doc "Opens the index, and lets writers loose on it that go on from the given states."
  def run(path, options, seed, starts) do
    ChildVM.tell("opening")
    {:ok, _owner} = LsmIndex.start_link([name: __MODULE__, path: path] ++ options)
    index = LsmIndex.Names.fetch!(__MODULE__)
    for {writer, start} <- starts, do: spawn(fn -> churn(index, writer, seed, start) end)
    ChildVM.tell("writing")
    :ok
  end

  defp churn(index, writer, seed, {state, n}) do
    {changes, state} = step(writer, seed, state, n)

    case make(index, writer, changes, n) do
      :ok -> ChildVM.tell(<<"ok", elem(writer, 1), n::64>>)
      :unknown -> :ok
      {:error, %Error{reason: :closed}} -> exit(:normal)
      {:error, error} -> ChildVM.tell("failed: #{inspect(writer)} #{inspect(error)}")
    end

    churn(index, writer, seed, {state, n + 1})
  end

  defp make(index, {:routes, _} = writer, [{op, key, id}], _n) do
    change = if op == :put, do: &Index.add_shape/4, else: &Index.remove_shape/4
    change.(shapes(index), route(writer, key), "shape-#{id}", nil)
    :ok
  rescue
    error in Error -> {:error, error}
  end

  # Only a sync makes sure of what was put before it.
  defp make(index, {:unlogged, _} = writer, [{:put, key, id}], n) do
    with :ok <- LsmIndex.put(index, key(writer, key), id, durability: :memory) do
      if rem(n, 50) == 0, do: sync(index), else: :unknown
    end
  end

  defp make(index, writer, [{:put, key, id}], _n), do: LsmIndex.put(index, key(writer, key), id)

  defp make(index, writer, [{:delete, key, id}], _n),
    do: LsmIndex.delete(index, key(writer, key), id)

  defp make(index, writer, changes, _n),
    do: LsmIndex.write(index, for({op, key, id} <- changes, do: {op, key(writer, key), id}))

  # Time for the others, in which there is something that only memory has.
  defp sync(index) do
    Process.sleep(20)
    LsmIndex.sync(index)
  end
end
