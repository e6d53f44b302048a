defmodule Demo.Postgres.Churn do
  @moduledoc """
  The shapes that come and go, as the random generator of the process has it: seed that.

  About as many shapes as at first are alive all the time. One in four that come has been there
  before, with the same id and value. Each time that a value is named, it is in one of two
  spellings, or in the Elixir term for it.
  """

  @types %{
    "account" => :int8,
    "owner" => :uuid,
    "title" => :text,
    "price" => :numeric,
    "score" => :float8,
    "done" => :bool,
    "due" => :date,
    "seen" => :timestamptz
  }

  # Half of all records have the one value or the other, so a few shapes give many pairs.
  @crowded "done"
  @crowd 8
  @others Map.keys(@types) -- [@crowded]

  @type shape :: %{
          id: term(),
          field: String.t(),
          type: atom(),
          spellings: {String.t(), String.t()},
          literal: String.t(),
          born: pos_integer()
        }

  @type operation :: {:add | :remove, shape(), constant :: term()}

  # The tables are outside the heap of the process: routing is not to wait for their garbage
  # collection. `:values` has `{{field, number}, spellings}` and `{field, count}`; `:alive` has
  # `{{field, place}, shape}` and `{field, count}`; `:gone` the last shape that a field lost.
  @opaque t :: %{
            values: :ets.tid(),
            alive: :ets.tid(),
            gone: :ets.tid(),
            usual: %{String.t() => pos_integer()},
            next: non_neg_integer()
          }

  @doc """
  No shapes yet, to be about `count`. `lines` has the values: a field and its value's two
  spellings, these in hexadecimal digits.
  """
  @spec new(lines :: String.t(), count :: pos_integer()) :: t()
  def new(lines, count) do
    [values, alive, gone] = for name <- [:values, :alive, :gone], do: :ets.new(name, [:set])
    each = max(1, div(count - @crowd, length(@others)))
    usual = @others |> Map.new(&{&1, each}) |> Map.put(@crowded, @crowd)
    for field <- Map.keys(usual), do: :ets.insert(alive, {field, 0})

    for line <- String.split(lines, "\n", trim: true) do
      [field, one, other] = String.split(line, "|")
      number = :ets.update_counter(values, field, 1, {field, 0})
      :ets.insert(values, {{field, number}, {decode(one), decode(other)}})
    end

    %{values: values, alive: alive, gone: gone, usual: usual, next: 0}
  end

  @doc "Adds the shapes that are there before change number `n`."
  @spec fill(t(), n :: pos_integer()) :: {[operation()], t()}
  def fill(churn, n) do
    fields = for {field, count} <- churn.usual, _ <- 1..count, do: field
    Enum.map_reduce(fields, churn, &add(&2, newcomer(&2, &1), n))
  end

  @doc """
  What happens to the shapes right before change number `n`.

  Up to two that have nothing to do with the change; now and then, one comes for a value of
  `record`, which is of this change, and may go again at once. So there is often a shape that the
  change only just reaches, or only just misses.
  """
  @spec step(t(), n :: pos_integer(), LsmIndex.Index.row()) :: {[operation()], t()}
  def step(churn, n, record) do
    {operations, churn} =
      Enum.map_reduce(Enum.drop([1, 2], :rand.uniform(3) - 1), churn, fn _, churn ->
        field = if :rand.uniform(200) == 1, do: @crowded, else: Enum.random(@others)
        usual = churn.usual[field]
        count = lookup(churn.alive, field)
        # The more there are, the likelier is it that one goes.
        if :rand.uniform(usual + count) <= usual,
          do: add(churn, newcomer(churn, field), n),
          else: remove(churn, field, :rand.uniform(count))
      end)

    field = Enum.random(@others)

    case {:rand.uniform(20), record} do
      {1, %{^field => text}} when is_binary(text) ->
        {come, churn} = add(churn, fresh(churn, field, {text, text}), n)
        {go, churn} = if :rand.uniform(3) == 1, do: remove_last(churn, field), else: {[], churn}
        {operations ++ [come | go], churn}

      _ ->
        {operations, churn}
    end
  end

  @doc "The shapes that are there now."
  @spec alive(t()) :: [shape()]
  def alive(churn), do: for({{_field, _place}, shape} <- :ets.tab2list(churn.alive), do: shape)

  defp add(churn, shape, n) do
    {constant, literal} = constant(shape)
    shape = Map.merge(shape, %{literal: literal, born: n})
    place = :ets.update_counter(churn.alive, shape.field, 1)
    :ets.insert(churn.alive, {{shape.field, place}, shape})
    {{:add, shape, constant}, %{churn | next: churn.next + 1}}
  end

  # The last one moves to the place of the one that goes: then places have no holes.
  defp remove(churn, field, place) do
    count = lookup(churn.alive, field)
    shape = lookup(churn.alive, {field, place})
    :ets.insert(churn.alive, {{field, place}, lookup(churn.alive, {field, count})})
    :ets.delete(churn.alive, {field, count})
    :ets.insert(churn.alive, {field, count - 1})
    :ets.insert(churn.gone, {field, shape})
    {constant, _literal} = constant(shape)
    {{:remove, shape, constant}, churn}
  end

  defp remove_last(churn, field) do
    {operation, churn} = remove(churn, field, lookup(churn.alive, field))
    {[operation], churn}
  end

  defp newcomer(churn, field) do
    with 1 <- :rand.uniform(4), [{_field, shape}] <- :ets.take(churn.gone, field) do
      shape
    else
      _ ->
        number = :rand.uniform(lookup(churn.values, field))
        fresh(churn, field, lookup(churn.values, {field, number}))
    end
  end

  # An index may store small integers in another way than other terms.
  defp fresh(%{next: next}, field, spellings) do
    id = if rem(next, 2) == 0, do: next, else: "#{next}-1732400000000000"
    %{id: id, field: field, type: @types[field], spellings: spellings}
  end

  defp lookup(table, key), do: :ets.lookup_element(table, key, 2)

  # A constant for the index, and the text that SQL is to take for it.
  defp constant(%{type: type, spellings: {one, other}}) do
    case :rand.uniform(3) do
      1 ->
        {one, one}

      2 ->
        {other, other}

      3 ->
        {:ok, term} = LsmIndex.Postgres.parse(type, one)
        {term, one}
    end
  end

  defp decode(hex), do: Base.decode16!(hex, case: :lower)
end
