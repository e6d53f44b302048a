defmodule LsmIndex.NativeTest do
  use LsmIndex.Case, async: true

  alias LsmIndex.Native

  test "a reference that is no index is a bad argument" do
    assert_raise ArgumentError, fn -> Native.get(make_ref(), "a") end
    assert_raise ArgumentError, fn -> Native.close(:index) end
  end

  test "a reference to something else of the library is no index" do
    loader = Native.load_begin(Native.new_memory(%{}), 1000)
    assert_raise ArgumentError, fn -> Native.get(loader, "a") end
    assert {:error, {:invalid_argument, _, _}} = Native.put(loader, "a", 1)
  end

  @tag :tmp_dir
  test "an index goes with the last reference to it, and a load has one", %{tmp_dir: dir} do
    path = Path.join(dir, "index")
    parent = self()

    # On a heap of its own, which nothing is left on but the loader.
    holder =
      spawn_link(fn ->
        loader = begin_load(path)
        :erlang.garbage_collect()
        send(parent, {:added, Native.load_add(loader, [{"a", 1}])})
        receive do: (:stop -> loader)
      end)

    assert_receive {:added, 1}
    assert {:error, {:locked, _, _}} = Native.open(path, %{})
    send(holder, :stop)
    eventually(fn -> match?({:ok, _index}, Native.open(path, %{})) end)
  end

  defp begin_load(path) do
    {:ok, index} = Native.open(path, %{})
    Native.load_begin(index, 1000)
  end

  test "every stub is replaced by a NIF" do
    # A stub that the library does not know would raise :nif_not_loaded; a NIF never does.
    for {name, arity} <- Native.__info__(:functions), name != :load_nif do
      arguments = List.duplicate(nil, arity)

      result =
        try do
          apply(Native, name, arguments)
        rescue
          error in ArgumentError -> error
        end

      # `new_memory` takes nil for no options, `term_key` and `name_code` any term.
      assert match?(%ArgumentError{}, result) or match?({:error, {_, _, _}}, result) or
               is_reference(result) or name in [:term_key, :term_key_dirty, :name_code],
             "#{name}/#{arity} gave #{inspect(result)}"
    end
  end

  # rustler's own lists panic at the end of one.
  test "an improper list is an error wherever a list belongs" do
    index = Native.new_memory(%{})
    loader = Native.load_begin(index, 1000)

    calls = [
      write: [index, [{:put, "key", 1} | :rest]],
      get_many: [index, ["key" | :rest]],
      load_add: [loader, [{"key", 1} | :rest]],
      text_get: [index, :name, [:int8 | :rest], "1"],
      text_get_in: [index, Native.name_code(:name), [:int8 | :rest], "1"],
      text_get_many: [index, [{:name, :int8, "1"} | :rest]],
      text_get_many: [index, [{:name, [:int8 | :rest], "1"}]]
    ]

    for {function, arguments} <- calls do
      assert {:error, {:invalid_argument, _, _}} = apply(Native, function, arguments)
    end
  end

  # Terms of every kind, also where a term of some other kind belongs: the answer is an error, or
  # ArgumentError is raised. A panic in the library would show as `:poisoned` or as another exception.
  @tag :tmp_dir
  test "random terms do no harm to any NIF", %{tmp_dir: dir} do
    # Another one every time; the same again with the environment variable.
    seed =
      String.to_integer(System.get_env("LSM_INDEX_TERMS_SEED", "#{:rand.uniform(1_000_000)}"))

    :rand.seed(:exsss, seed)
    stored = Path.join(dir, "stored")
    {:ok, index} = Native.open(stored, %{num_lanes: 2})
    :ok = Native.close(index)

    for round <- 1..100 do
      index = Native.new_memory(%{num_lanes: 4, compaction_threshold: 3})
      loader = Native.load_begin(index, 1000)
      listing = Native.list_begin(index, nil)
      reconciler = Native.reconcile_begin(index, :rand.uniform(2) == 1)
      {:ok, verifier} = Native.verify_begin(stored)

      resources = %{
        index: index,
        loader: loader,
        listing: listing,
        reconciler: reconciler,
        verifier: verifier,
        dir: dir,
        stored: stored
      }

      for {name, arity} <- Native.__info__(:functions), name != :load_nif do
        arguments = arguments(name, arity, resources)

        result =
          try do
            apply(Native, name, arguments)
          rescue
            error in ArgumentError -> error
          end

        assert sound?(result),
               "seed #{seed}, round #{round}: #{name}/#{arity} gave #{inspect(result)} for " <>
                 inspect(arguments, limit: 20, printable_limit: 200)
      end
    end
  end

  defp sound?({:error, {reason, message, detail}}),
    do: reason != :poisoned and is_binary(message) and is_map(detail)

  defp sound?({:error, _}), do: false
  defp sound?(_result), do: true

  # Mostly what belongs there comes first, for the rest to be looked at; the rest is of any kind.
  defp arguments(name, arity, resources) do
    [first | rest] = for _ <- 1..arity, do: argument(resources)

    first =
      cond do
        # A pace is for all indexes of the VM, those of other tests too.
        name == :set_pace and is_integer(first) -> 0
        name in [:open, :verify_begin, :repair] -> path(first, resources)
        name == :verify_step -> resources.verifier
        :rand.uniform(8) == 1 -> first
        name in [:load_add, :load_step] -> resources.loader
        name in [:list_next, :list_next_dirty] -> resources.listing
        name in [:reconcile_name, :reconcile_step, :reconcile_end] -> resources.reconciler
        name == :new_memory -> options(resources)
        true -> resources.index
      end

    rest = if name == :open and :rand.uniform(2) == 1, do: [options(resources)], else: rest
    [first | rest]
  end

  # Nothing is made outside of the directory of the test.
  defp path(term, resources) when is_binary(term) do
    if :rand.uniform(2) == 1,
      do: resources.stored,
      else:
        Path.join(resources.dir, Base.encode16(binary_part(term, 0, min(byte_size(term), 300))))
  end

  defp path(term, _resources), do: term

  defp options(resources) do
    names = [
      :num_lanes,
      :compaction_threshold,
      :hash_key,
      :durability,
      :max_log_bytes,
      :recover,
      :verify,
      :other
    ]

    values = [
      4,
      1,
      4096,
      "sixteen bytes...",
      :sync,
      :os,
      :memory,
      :salvage,
      :strict,
      :full,
      :fast,
      nil
    ]

    for name <- names, :rand.uniform(2) == 1, into: %{} do
      {name, if(:rand.uniform(3) == 1, do: argument(resources), else: Enum.random(values))}
    end
  end

  defp argument(resources) do
    case :rand.uniform(12) do
      1 -> Enum.random([:put, :delete, :memory, :os, :sync, true, false, nil])
      2 -> for _ <- 1..:rand.uniform(5), do: pair(resources)
      3 -> for _ <- 1..:rand.uniform(5), do: any(resources, 2)
      _ -> any(resources, 3)
    end
  end

  defp pair(resources) do
    case :rand.uniform(4) do
      1 -> {Enum.random([:put, :delete]), "key", :rand.uniform(9)}
      2 -> {"key", :rand.uniform(9)}
      3 -> {Enum.random([:put, :delete, :other]), any(resources, 1), any(resources, 1)}
      4 -> {any(resources, 1), any(resources, 1)}
    end
  end

  defp any(resources, depth) do
    case :rand.uniform(if(depth == 0, do: 16, else: 22)) do
      1 ->
        :rand.uniform(100)

      2 ->
        -:rand.uniform(100)

      3 ->
        Enum.random([2 ** 30 - 1, 2 ** 30, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 63, 2 ** 64])

      4 ->
        Enum.random([2 ** 20_000, -(2 ** 20_000), -(2 ** 63), -1, 0])

      5 ->
        :rand.uniform() * 1.0e300

      6 ->
        Enum.random([:put, :delete, nil, :"", :an_atom, :ünïcode])

      7 ->
        "key #{:rand.uniform(9)}"

      8 ->
        Enum.random(["", :binary.copy("x", 65_535), :binary.copy("x", 65_536), <<0, 255, 254>>])

      # A part of another binary, and bits that are no bytes.
      9 ->
        binary_part(:binary.copy("abc", 100), 17, 120)

      10 ->
        Enum.random([<<5::3>>, <<1, 2, 3::7>>, <<0::1>>])

      11 ->
        Enum.random([make_ref(), self(), fn -> :ok end, &Enum.map/2, hd(Port.list())])

      12 ->
        Enum.random([resources.index, resources.loader, resources.listing])

      13 ->
        :erlang.term_to_binary({:a, "term", [1, 2]})

      14 ->
        Enum.random([[], {}, %{}])

      15 ->
        Enum.reduce(1..10_000, [], fn _, inner -> [inner] end)

      16 ->
        Enum.reduce(1..10_000, {}, fn _, inner -> {inner} end)

      17 ->
        [any(resources, depth - 1) | any(resources, depth - 1)]

      18 ->
        for _ <- 1..:rand.uniform(4), do: any(resources, depth - 1)

      19 ->
        List.to_tuple(for _ <- 1..:rand.uniform(4), do: any(resources, depth - 1))

      20 ->
        %{any(resources, 0) => any(resources, depth - 1)}

      21 ->
        Enum.to_list(1..5_000)

      22 ->
        List.duplicate("key", 1_500) ++ any(resources, depth - 1)
    end
  end

  @tag :tmp_dir
  test "without its library the application does not start, and says why", %{tmp_dir: dir} do
    ebin = Path.join(dir, "lsm_index/ebin")
    File.mkdir_p!(Path.dirname(ebin))
    File.cp_r!(Application.app_dir(:lsm_index, "ebin"), ebin)

    script = "{:error, {:lsm_index, {reason, _}}} = Application.ensure_all_started(:lsm_index)"

    {output, 0} =
      System.cmd("elixir", ["-pa", ebin, "-e", script <> "; IO.puts(reason)"],
        stderr_to_stdout: true
      )

    assert output =~ "cannot load its NIF library #{dir}/lsm_index/priv/native/liblsm_index"
    assert output =~ "LSM_INDEX_NIF_PATH"
  end
end
