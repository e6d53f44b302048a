defmodule LsmEqualityIndexTest do
  # Not async: one test watches the processes of the whole VM.
  use ExUnit.Case, async: false

  alias LsmIndex.{Error, Index}

  doctest LsmEqualityIndex
  doctest Index

  # Each type with two constants, the text of each as PostgreSQL prints it, and text of no value.
  @types [
    {:int2, 1, "1", -2, "-2", "70000"},
    {:int4, 1, "1", -2, "-2", "1.0"},
    {:int8, 1, "1", 2 ** 40, "1099511627776", "one"},
    {:float4, 1, "1", 0.1, "0.1", "1,5"},
    {:float8, 1.0, "1", 1.5e300, "1.5e+300", ""},
    {:numeric, 1.5, "1.50", 2, "2.000", "1.5.0"},
    {:bool, true, "t", false, "f", "yes"},
    {:text, "a", "a", "", "", nil},
    {:varchar, "a", "a", "a ", "a ", nil},
    {:bpchar, "a  ", "a  ", "a", "a", nil},
    {:name, "a", "a", "b", "b", nil},
    {:uuid, <<1::128>>, "00000000-0000-0000-0000-000000000001", <<2::128>>,
     "00000000-0000-0000-0000-000000000002", "sixteen letters!"},
    {:date, ~D[2024-02-29], "2024-02-29", ~D[-0043-03-15], "0044-03-15 BC", "2023-02-29"},
    {:time, ~T[01:02:03.500], "01:02:03.5", ~T[00:00:00], "00:00:00", "25:00:00"},
    {:timestamp, ~N[2024-02-29 01:02:03], "2024-02-29 01:02:03", ~N[2024-02-29 01:02:03.5],
     "2024-02-29 01:02:03.5", "2024-02-29"},
    {:timestamptz, ~U[2024-02-29 01:02:03Z], "2024-02-29 06:32:03+05:30",
     ~U[2024-02-29 01:02:04Z], "2024-02-29 01:02:04+00", "2024-02-29 01:02:04"}
  ]

  defp affected(index, text, shapes \\ %{}),
    do: Index.affected_shapes(index, "id", %{"id" => text}, shapes)

  describe "every type" do
    test "is among those tried here" do
      assert Enum.sort(LsmIndex.Postgres.types()) ==
               @types |> Enum.map(&elem(&1, 0)) |> Enum.sort()
    end

    test "routes the text of a constant to the constant's shapes and to no others" do
      for {type, a, a_text, b, b_text, _bad} <- @types do
        index = LsmEqualityIndex.new(type)
        index = Index.add_shape(index, a, :shape_a, nil)
        index = Index.add_shape(index, b, :shape_b, nil)

        assert {type, affected(index, a_text)} == {type, MapSet.new([:shape_a])}
        assert {type, affected(index, b_text)} == {type, MapSet.new([:shape_b])}

        index = Index.remove_shape(index, a, :shape_a, nil)
        assert {type, affected(index, a_text)} == {type, MapSet.new()}
        assert {type, affected(index, b_text)} == {type, MapSet.new([:shape_b])}
      end
    end

    test "takes a constant that is text as SQL takes a literal" do
      for {type, a, a_text, _b, _b_text, _bad} <- @types do
        index = LsmEqualityIndex.new(type)
        index = Index.add_shape(index, a_text, 1, nil)
        index = Index.remove_shape(index, a, 1, nil)
        assert {type, Index.empty?(index)} == {type, true}
      end
    end

    test "says which field and type it could not parse" do
      for {type, _a, _a_text, _b, _b_text, bad} <- @types, bad != nil do
        message = ~s(Could not parse value for field "id" of type #{inspect(type)})
        assert_raise RuntimeError, message, fn -> affected(LsmEqualityIndex.new(type), bad) end
      end
    end
  end

  test "the error for text that does not parse, word for word" do
    index = LsmEqualityIndex.new(:int8)

    assert_raise RuntimeError, ~S(Could not parse value for field "id" of type :int8), fn ->
      Index.affected_shapes(index, "id", %{"id" => "forty-two"}, %{})
    end

    assert_raise RuntimeError, ~S(Could not parse value for field "id" of type :int8), fn ->
      Index.affected_shapes(index, "id", %{"id" => 42}, %{})
    end
  end

  test "a record without the field, or with nil, affects nothing" do
    index = Index.add_shape(LsmEqualityIndex.new(:int8), 42, "shape", nil)
    assert Index.affected_shapes(index, "id", %{}, %{}) == MapSet.new()
    assert Index.affected_shapes(index, "id", %{"id" => nil}, %{}) == MapSet.new()
    assert Index.affected_shapes(index, "id", %{"other" => "42"}, %{}) == MapSet.new()
    assert Index.affected_shapes(index, "id", %{"id" => "43"}, %{}) == MapSet.new()
  end

  describe "shape ids" do
    @numbers [0, 1, 2 ** 30 - 1, 2 ** 30, 2 ** 31, 2 ** 70, -1, 1.0]
    @containers [{1}, {1, 2}, {"a", nil}, [], [1], %{a: 1}]
    @ids @numbers ++ @containers ++ ["1", "", :shape, nil, String.duplicate("x", 1_000)]

    test "are any term, and each is its own" do
      ids = @ids ++ [make_ref(), self()]

      index =
        for id <- ids, reduce: LsmEqualityIndex.new(:int4) do
          index -> Index.add_shape(index, 42, id, nil)
        end

      assert affected(index, "42") == MapSet.new(ids)
      assert Index.all_shape_ids(index) == MapSet.new(ids)

      for id <- ids, reduce: MapSet.new(ids) do
        left ->
          left = MapSet.delete(left, id)
          Index.remove_shape(index, 42, id, nil)
          assert affected(index, "42") == left
          left
      end

      assert Index.empty?(index)
    end

    test "can be many for one value" do
      index = LsmEqualityIndex.new(:int4)
      for id <- 1..3_000, do: Index.add_shape(index, 42, id, nil)
      for id <- 1..3_000, do: Index.add_shape(index, 42, "shape-#{id}", nil)

      ids = MapSet.new(Enum.flat_map(1..3_000, &[&1, "shape-#{&1}"]))
      assert affected(index, "42") == ids
      assert Index.all_shape_ids(index) == ids
    end

    test "can have many values" do
      index = LsmEqualityIndex.new(:int4)
      for value <- 1..500, do: Index.add_shape(index, value, "in-list", nil)
      assert affected(index, "250") == MapSet.new(["in-list"])
      assert Index.all_shape_ids(index) == MapSet.new(["in-list"])

      for value <- 1..499, do: Index.remove_shape(index, value, "in-list", nil)
      assert Index.all_shape_ids(index) == MapSet.new(["in-list"])
      Index.remove_shape(index, 500, "in-list", nil)
      assert Index.all_shape_ids(index) == MapSet.new()
    end
  end

  test "adding the same shape twice is adding it once" do
    for {residual, and_where} <- [{nil, nil}, {fn _, _, _ -> true end, {:>, "x", 1}}],
        id <- [7, "shape"] do
      index = LsmEqualityIndex.new(:int8, residual: residual)
      for _ <- 1..2, do: Index.add_shape(index, 1, id, and_where)
      assert affected(index, "1") == MapSet.new([id])
      Index.remove_shape(index, 1, id, and_where)
      assert affected(index, "1") == MapSet.new()
      assert Index.empty?(index)
    end
  end

  test "removing what is not there is harmless" do
    index = Index.add_shape(LsmEqualityIndex.new(:int8), 1, "shape", nil)

    for {value, id, and_where} <- [
          {2, "shape", nil},
          {1, "other", nil},
          {1, 17, nil},
          {1, "shape", {:>, "x", 1}},
          {nil, "shape", nil},
          {"no integer", "shape", nil},
          {[1], "shape", nil}
        ] do
      assert Index.remove_shape(index, value, id, and_where) == index
    end

    assert affected(index, "1") == MapSet.new(["shape"])
  end

  test "the index that comes back is the index that went in, changed" do
    index = LsmEqualityIndex.new(:int8)
    assert Index.add_shape(index, 1, "shape", nil) == index
    assert Index.remove_shape(index, 1, "shape", nil) == index
    assert affected(index, "1") == MapSet.new()
  end

  describe "and_where" do
    setup do
      test = self()

      residual = fn {:greater, field, than} = and_where, record, shape ->
        send(test, {:asked, and_where, record, shape})
        String.to_integer(record[field]) > than
      end

      %{index: LsmEqualityIndex.new(:int8, residual: residual)}
    end

    test "is decided by the evaluator, who is shown record and shape", %{index: index} do
      index = Index.add_shape(index, 1, "over 5", {:greater, "x", 5})
      index = Index.add_shape(index, 1, "over 9", {:greater, "x", 9})
      index = Index.add_shape(index, 1, "all", nil)
      index = Index.add_shape(index, 2, "other", {:greater, "x", 0})
      record = %{"id" => "1", "x" => "7"}
      shapes = %{"over 5" => :shape_5, "all" => :shape_all}

      assert Index.affected_shapes(index, "id", record, shapes) == MapSet.new(["over 5", "all"])
      assert_received {:asked, {:greater, "x", 5}, ^record, :shape_5}
      assert_received {:asked, {:greater, "x", 9}, ^record, nil}
      refute_received {:asked, _, _, _}

      assert Index.all_shape_ids(index) == MapSet.new(["over 5", "over 9", "all", "other"])
    end

    test "makes a shape of its own, beside the one without", %{index: index} do
      index = Index.add_shape(index, 1, 7, nil)
      index = Index.add_shape(index, 1, 7, {:greater, "x", 5})
      index = Index.add_shape(index, 1, 7, {:greater, "x", 9})
      record = fn x -> %{"id" => "1", "x" => x} end
      assert Index.affected_shapes(index, "id", record.("1"), %{}) == MapSet.new([7])

      index = Index.remove_shape(index, 1, 7, nil)
      assert Index.affected_shapes(index, "id", record.("1"), %{}) == MapSet.new()
      assert Index.affected_shapes(index, "id", record.("7"), %{}) == MapSet.new([7])

      index = Index.remove_shape(index, 1, 7, {:greater, "x", 5})
      assert Index.affected_shapes(index, "id", record.("7"), %{}) == MapSet.new()
      assert Index.all_shape_ids(index) == MapSet.new([7])
    end

    test "zeros of either sign are the same term where the VM says so" do
      index = Index.add_shape(LsmEqualityIndex.new(:int8), 1, {:at, 0.0}, nil)
      Index.remove_shape(index, 1, {:at, -0.0}, nil)
      assert Index.empty?(index) == ({:at, 0.0} === {:at, -0.0})
    end

    test "is taken back by an equal term whose bytes are others" do
      over = fn than -> fn x -> x > than end end
      others = Task.await(Task.async(fn -> over.(5) end))
      assert over.(5) === others
      # Before OTP 27 a closure's bytes named the process that made it.
      other_bytes? = :erlang.term_to_binary(over.(5)) != :erlang.term_to_binary(others)
      assert other_bytes? == String.to_integer(System.otp_release()) < 27

      index = LsmEqualityIndex.new(:int8, residual: fn _, _, _ -> true end)
      index = Index.add_shape(index, 1, "over 5", others)
      index = Index.add_shape(index, 1, "over 6", over.(6))
      index = Index.remove_shape(index, 1, "over 5", over.(5))
      assert affected(index, "1") == MapSet.new(["over 6"])
    end

    test "is refused without an evaluator" do
      index = LsmEqualityIndex.new(:int8)

      assert_raise ArgumentError,
                   ~S(the index was made without residual: and cannot decide {:greater, "x", 5}),
                   fn -> Index.add_shape(index, 1, "shape", {:greater, "x", 5}) end

      assert Index.empty?(index)
    end
  end

  describe "wrong input" do
    test "nil and other values of no key are refused by add_shape" do
      index = LsmEqualityIndex.new(:int8)

      for {value, message} <- [
            {nil, "nil equals nothing: it is no constant"},
            {"one", ~S(no constant of type :int8: "one")},
            {[1], "no constant of type :int8: [1]"}
          ] do
        assert_raise ArgumentError, message, fn -> Index.add_shape(index, value, 1, nil) end
      end

      assert Index.empty?(index)
    end

    test "an unknown type is named" do
      assert_raise ArgumentError, ~r/^unknown type {:enum, "mood"}: give parser:/, fn ->
        LsmEqualityIndex.new({:enum, "mood"})
      end
    end

    test "options are checked, those of LsmIndex by LsmIndex" do
      assert_raise ArgumentError,
                   "option :residual must be a function of 3 arguments, got: :yes",
                   fn -> LsmEqualityIndex.new(:int8, residual: :yes) end

      assert_raise ArgumentError, ~r/^option :parser must be a function of 1 arguments/, fn ->
        LsmEqualityIndex.new(:int8, parser: fn _, _ -> :error end)
      end

      for options <- [:x, [:residual], %{path: "routes"}] do
        assert_raise ArgumentError, ~r/^options must be a keyword list, got: /, fn ->
          LsmEqualityIndex.new(:int8, options)
        end
      end

      assert_raise Error, ~r/num_lanes/, fn -> LsmEqualityIndex.new(:int8, num_lanes: 0) end
      assert_raise Error, ~r/colour/, fn -> LsmEqualityIndex.new(:int8, colour: :red) end
      assert LsmEqualityIndex.stats(LsmEqualityIndex.new(:int8, num_lanes: 3)).num_lanes == 3
    end

    test "a closed index raises" do
      index = Index.add_shape(LsmEqualityIndex.new(:int8), 1, 1, nil)
      assert LsmEqualityIndex.close(index) == :ok
      assert LsmEqualityIndex.close(index) == :ok

      for call <- [
            fn -> Index.add_shape(index, 1, 1, nil) end,
            fn -> Index.remove_shape(index, 1, 1, nil) end,
            fn -> affected(index, "1") end,
            fn -> Index.all_shape_ids(index) end,
            fn -> Index.empty?(index) end
          ] do
        assert %Error{reason: :closed} = catch_error(call.())
      end
    end
  end

  test "a throw-away index has no process and no port, and is small" do
    warm = LsmEqualityIndex.new(:int8)
    processes = Process.list()
    ports = :erlang.ports()

    indexes =
      for n <- 1..100 do
        Index.add_shape(LsmEqualityIndex.new(:int8), n, "shape", nil)
      end

    assert Process.list() -- processes == []
    assert :erlang.ports() -- ports == []

    for index <- indexes, do: assert(LsmEqualityIndex.memory(index).total < 16_384)
    assert :erts_debug.flat_size(warm) < 100
  end

  test "indexes do not know of each other" do
    [a, b] = for _ <- 1..2, do: LsmEqualityIndex.new(:int8)
    Index.add_shape(a, 1, "shape", nil)
    assert Index.empty?(b)
    assert affected(b, "1") == MapSet.new()
  end

  test "inspects shortly" do
    assert inspect(LsmEqualityIndex.new(:int8, num_lanes: 8)) ==
             "#LsmEqualityIndex<:int8, #LsmIndex<:memory, lanes: 8>>"
  end

  test "answers many records as it answers each" do
    residual = fn rest, record, _shape -> record["n"] == rest end

    for options <- [[], [parser: &LsmIndex.Postgres.parse(:int8, &1)]] do
      index = LsmEqualityIndex.new(:int8, [residual: residual] ++ options)
      for n <- 1..50, do: Index.add_shape(index, rem(n, 7), n, nil)
      for n <- 1..50, do: Index.add_shape(index, rem(n, 7), "s#{n}", "#{rem(n, 3)}")
      # More shapes under one value than a normal scheduler decodes.
      for n <- 1..600, do: Index.add_shape(index, 6, {:hot, n}, nil)

      records =
        for n <- 1..400 do
          %{"id" => Enum.at(["#{rem(n, 9)}", nil], rem(n, 11) |> div(10)), "n" => "#{rem(n, 4)}"}
        end

      expected = for record <- records, do: Index.affected_shapes(index, "id", record, %{})
      assert LsmEqualityIndex.affected_shapes_many(index, "id", records) == expected

      assert LsmEqualityIndex.affected_shapes_many(index, "other", records) |> Enum.uniq() == [
               MapSet.new()
             ]

      assert LsmEqualityIndex.affected_shapes_many(index, "id", []) == []

      assert_raise RuntimeError, ~r/Could not parse value for field "id" of type :int8/, fn ->
        LsmEqualityIndex.affected_shapes_many(index, "id", [%{"id" => "1"}, %{"id" => "x"}])
      end
    end
  end
end
