defmodule LsmIndex.Electric.Shadow do
  @moduledoc """
  Runs an `LsmIndex` in the shadow of the equality index that a filter has: how a service finds out
  what a change of index would change, before it makes it. The host writes

      defmodule Electric.Shapes.Filter.Indexes.ShadowedEqualityIndex do
        use LsmIndex.Electric.Shadow, index: Electric.Shapes.Filter.Indexes.EqualityIndex
      end

  and gives the filter this module. Every call goes to `index:`, and what that answers, or raises,
  is the answer. The shadow is told the same, asked the same, and compared:

    * *missing*: shapes that the index finds and the shadow does not. There should be none.
    * *extra*: shapes that the shadow finds and the index does not. With `keys: :canonical` there are
      some where constant and value are equal in SQL, but not the same term: routes that the index
      misses.
    * *errors*: what the shadow raised, and text that only one of the two could read.

  `report/1` of the host's module gives the counts, for one filter. A difference is logged as a
  warning, one in ten seconds at the most for each filter, with the number of those that were not; each
  is told as the event `[:lsm_index, :shadow, :difference]`, see `LsmIndex.Telemetry`.

  Of shapes with more to their clauses, the shadow knows the constant only: whether the index is
  right about the rest is not compared, just that the shadow would have looked. So it makes no
  conditions of its own, and what it costs is a second index and its look-ups.

  ## Options

    * `:index` (required) - the module that answers.
    * `:keys`, `:parser` - as for `LsmIndex.Electric.EqualityIndex`.
    * `:options` - of `LsmIndex.open/2`.
    * `:log_every` - milliseconds between two logs, 10 000 by default.
  """

  alias LsmIndex.Electric.Fields
  alias LsmIndex.Routes.Engine
  alias LsmIndex.Telemetry

  require Logger

  @typedoc "Look-ups that were compared, shapes that were missing or extra, and errors."
  @type report :: %{
          compared: non_neg_integer,
          missing: non_neg_integer,
          extra: non_neg_integer,
          errors: non_neg_integer
        }

  @doc false
  defmacro __using__(options) do
    quote bind_quoted: [options: options] do
      alias LsmIndex.Electric.Shadow

      @lsm_shadow Shadow.config!(options)

      @doc "Files a shape in the index, and in its shadow."
      def add_shape(filter, condition_id, shape_id, optimisation, branch_key),
        do: Shadow.add(@lsm_shadow, filter, condition_id, shape_id, optimisation, branch_key)

      @doc "Removes a shape from the index, and from its shadow."
      def remove_shape(filter, condition_id, shape_id, optimisation, branch_key),
        do: Shadow.remove(@lsm_shadow, filter, condition_id, shape_id, optimisation, branch_key)

      @doc "What the index answers; the shadow's answer is compared."
      def affected_shapes(filter, condition_id, field, record),
        do: Shadow.affected(@lsm_shadow, filter, condition_id, field, record)

      @doc "What the index answers; the shadow's answer is compared."
      def all_shape_ids(filter, condition_id, field),
        do: Shadow.all(@lsm_shadow, filter, condition_id, field)

      @doc "How the shadow of the filter's index has compared so far."
      @spec report(map) :: Shadow.report()
      def report(filter), do: Shadow.report(@lsm_shadow, filter)
    end
  end

  @doc false
  def config!(options) do
    options =
      Keyword.validate!(options,
        index: nil,
        parser: nil,
        keys: :canonical,
        options: [],
        log_every: 10_000
      )

    if is_nil(options[:index]),
      do: raise(ArgumentError, "use LsmIndex.Electric.Shadow needs index:, a module")

    config = Map.new(options)

    %{
      tag: __MODULE__,
      primary: config.index,
      keys: config.keys,
      parser: config.parser,
      index: config.options,
      log_every: config.log_every
    }
    |> Fields.check!()
  end

  @doc false
  def add(config, filter, condition_id, shape_id, optimisation, branch_key) do
    answer = config.primary.add_shape(filter, condition_id, shape_id, optimisation, branch_key)

    guarded(config, filter, fn ->
      %{type: type, value: value} = optimisation
      {routes, name} = Fields.locate(config, filter, condition_id, optimisation)
      key = Fields.key!(routes, type, value)
      Fields.change!(routes, :put, name, key, target(shape_id, optimisation, branch_key))
      Fields.remember(config, filter, routes, name, type, value)
    end)

    answer
  end

  @doc false
  def remove(config, filter, condition_id, shape_id, optimisation, branch_key) do
    answer = config.primary.remove_shape(filter, condition_id, shape_id, optimisation, branch_key)

    guarded(config, filter, fn ->
      %{type: type, value: value} = optimisation
      {routes, name} = Fields.locate(config, filter, condition_id, optimisation)

      with {:ok, key} <- Fields.key(routes, type, value) do
        target = target(shape_id, optimisation, branch_key)
        Fields.delete!(config, filter, routes, name, key, target)
      end
    end)

    answer
  end

  # With nothing left to check, or a candidate; several times if for several branches of its clause.
  defp target(shape_id, %{and_where: nil}, []), do: {shape_id}
  defp target(shape_id, %{and_where: nil}, branch_key), do: {shape_id, {:branch, branch_key}}
  defp target(shape_id, _optimisation, branch_key), do: {shape_id, {:rest, branch_key}}

  @doc false
  def affected(config, filter, condition_id, field, record) do
    ask = fn -> config.primary.affected_shapes(filter, condition_id, field, record) end

    {answer, again} =
      try do
        {{:ok, ask.()}, nil}
      rescue
        error -> {:error, {error, __STACKTRACE__}}
      end

    guarded(config, filter, fn ->
      found =
        case Fields.read(config, filter, {condition_id, field}, field, record) do
          nil -> {[], []}
          {_types, found} -> found
        end

      compare(config, filter, answer, found, fn -> {condition_id, field, record[field]} end)
    end)

    case {answer, again} do
      {{:ok, shapes}, nil} -> shapes
      {:error, {error, stacktrace}} -> reraise error, stacktrace
    end
  end

  @doc false
  def all(config, filter, condition_id, field) do
    shapes = config.primary.all_shape_ids(filter, condition_id, field)

    guarded(config, filter, fn ->
      {ids, others} = Fields.all(config, filter, {condition_id, field})
      all = Enum.reduce(others, ids, fn {id, _kind}, ids -> MapSet.put(ids, id) end)
      # All are listed, whatever is left of their clauses.
      compare(config, filter, {:ok, shapes}, all, fn -> {condition_id, field, :all} end)
    end)

    shapes
  end

  defp compare(config, filter, :error, :error, _about), do: count(config, filter, :compared, 1)

  defp compare(config, filter, answer, found, about) when :error in [answer, found] do
    count(config, filter, :compared, 1)
    which = if found == :error, do: "the shadow", else: "the index"
    error(config, filter, "only #{which} could not read #{inspect(about.())}")
  end

  defp compare(config, filter, {:ok, shapes}, {ids, others}, about) do
    candidates = for {id, {:rest, _branch}} <- others, into: MapSet.new(), do: id
    sure = for {id, {:branch, _branch}} <- others, into: Engine.set_of(ids), do: id
    missing = shapes |> MapSet.difference(sure) |> MapSet.difference(candidates)
    differ(config, filter, missing, MapSet.difference(sure, shapes), about)
  end

  defp compare(config, filter, {:ok, shapes}, all, about),
    do:
      differ(
        config,
        filter,
        MapSet.difference(shapes, all),
        MapSet.difference(all, shapes),
        about
      )

  defp differ(config, filter, missing, extra, about) do
    count(config, filter, :compared, 1)
    counts = %{missing: MapSet.size(missing), extra: MapSet.size(extra)}

    if counts != %{missing: 0, extra: 0} do
      for {kind, number} <- counts, do: count(config, filter, kind, number)
      {condition_id, field, value} = about.()

      Telemetry.execute([:shadow, :difference], counts, %{
        condition_id: condition_id,
        field: field,
        value: value,
        missing: missing,
        extra: extra
      })

      log(config, filter, fn ->
        "the index and its shadow differ about #{inspect(value)} of #{inspect(field)} in condition " <>
          "#{inspect(condition_id)}: missing #{some(missing)}, extra #{some(extra)}"
      end)
    end
  end

  defp some(shapes), do: shapes |> Enum.take(5) |> inspect()

  # Nothing that goes wrong in the shadow shows in the answer.
  defp guarded(config, filter, fun) do
    fun.()
  rescue
    exception -> error(config, filter, Exception.message(exception))
  catch
    # A parser of the host's may do as it likes.
    kind, reason -> error(config, filter, Exception.format_banner(kind, reason))
  end

  defp error(config, filter, message) do
    count(config, filter, :errors, 1)
    log(config, filter, fn -> message end)
  end

  ## Counts, in the filter's table

  @places %{compared: 2, missing: 3, extra: 4, errors: 5, unlogged: 6}
  @row {{__MODULE__, :report}, 0, 0, 0, 0, 0, nil}
  @logged_at 7

  defp count(_config, %{counters_table: table}, what, number) do
    :ets.update_counter(table, elem(@row, 0), {@places[what], number}, @row)
  end

  defp log(config, %{counters_table: table} = filter, message) do
    now = System.monotonic_time(:millisecond)
    last = :ets.lookup_element(table, elem(@row, 0), @logged_at)

    if is_nil(last) or now - last >= config.log_every do
      unlogged = :ets.lookup_element(table, elem(@row, 0), @places.unlogged)
      :ets.update_element(table, elem(@row, 0), [{@places.unlogged, 0}, {@logged_at, now}])
      more = if unlogged > 0, do: " (#{unlogged} more were not logged)", else: ""
      Logger.warning("lsm_index shadow: " <> message.() <> more)
    else
      count(config, filter, :unlogged, 1)
    end
  end

  @doc false
  @spec report(map, map) :: report
  def report(_config, %{counters_table: table}) do
    row = with [] <- :ets.lookup(table, elem(@row, 0)), do: [@row]
    {_key, compared, missing, extra, errors, _unlogged, _logged_at} = hd(row)
    %{compared: compared, missing: missing, extra: extra, errors: errors}
  end
end
