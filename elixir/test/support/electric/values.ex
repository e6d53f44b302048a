defmodule LsmIndex.Test.Electric.Values do
  @moduledoc """
  A few values of each type, with the constants that a clause may have for each, and the texts that a
  record may have. All of one value are equal in SQL, and no others are. They are such that
  `LsmIndex.Test.Electric.Eval` is exact about them.
  """

  alias LsmIndex.Test.Electric.Eval

  @long String.duplicate("long ", 13_200)

  @integers [
    {[0], ["0", "-0", "00"]},
    {[1], ["1", "01"]},
    {[-1], ["-1"]},
    {[2], ["2"]},
    {[10], ["10", "0010"]},
    {[32_767], ["32767"]},
    {[-32_768], ["-32768"]}
  ]

  @floats [
    {[0, 0.0], ["0", "-0", "0.0", "-0.00", "0e0"]},
    {[1, 1.0], ["1", "1.0", "1e0", "0.1e1"]},
    {[-1.5], ["-1.5", "-1.50", "-15e-1"]},
    {[0.1], ["0.1", "0.10", "1e-1"]},
    {[1.0e-5], ["1e-05", "0.00001"]},
    {[123_456_789, 123_456_789.0], ["123456789", "1.23456789e+08"]},
    {[10 ** 15, 1.0e15], ["1e+15", "1000000000000000"]}
  ]

  @texts for text <- ["", "a", "A", "a ", "ä", "a" <> <<0xCC, 0x88>>, <<0xFF, 0>>, "10", "1.0"],
             do: {[text], [text]}

  @uuids for n <- [0, 1, 2, 0xABCDEF, 0xC0FFEE * 2 ** 96, 2 ** 128 - 1], do: <<n::128>>

  @values %{
    int2: @integers,
    int4: @integers ++ [{[2 ** 31 - 1], ["2147483647"]}, {[-(2 ** 31)], ["-2147483648"]}],
    int8:
      @integers ++
        [
          {[2 ** 63 - 1], ["9223372036854775807"]},
          {[-(2 ** 63)], ["-9223372036854775808"]},
          # The first that is no float.
          {[2 ** 53 + 1], ["9007199254740993"]}
        ],
    float4: @floats ++ [{[3.0e38], ["3e+38"]}, {[1.0e-38], ["1e-38"]}],
    float8:
      @floats ++
        [
          {[0.1 + 0.2], ["0.30000000000000004"]},
          {[10 ** 22, 1.0e22], ["1e+22", "10000000000000000000000"]},
          {[1.7976931348623157e308], ["1.7976931348623157e+308"]},
          {[2.2250738585072014e-308], ["2.2250738585072014e-308"]}
        ],
    numeric:
      @floats ++
        [
          {[-0.025], ["-0.025", "-0.0250000"]},
          {[12.34], ["12.34", "0012.340"]},
          # The service has a float of either, whatever digits the clause had.
          {[0.12345678901234568], ["0.1234567890123456789", "0.123456789012345678900"]},
          {[9_007_199_254_740_992.0], ["9007199254740993.0", "9007199254740992"]},
          {[2 ** 70], ["1180591620717411303424", "1180591620717411303424.000"]}
        ],
    bool: [{[true], ["t", "true"]}, {[false], ["f", "false"]}],
    text: @texts ++ [{[@long], [@long]}, {[@long <> "!"], [@long <> "!"]}],
    varchar: @texts,
    bpchar: @texts ++ [{["a   "], ["a   "]}],
    name: @texts,
    uuid:
      for uuid <- @uuids do
        <<a::binary-8, b::binary-4, c::binary-4, d::binary-4, e::binary>> =
          Base.encode16(uuid, case: :lower)

        text = Enum.join([a, b, c, d, e], "-")
        {[uuid], [text, String.upcase(text), String.capitalize(text)]}
      end,
    date:
      for date <- [~D[2024-02-29], ~D[2024-03-01], ~D[0001-01-01], ~D[9999-12-31], ~D[1999-12-31]] do
        {[date], [Date.to_iso8601(date)]}
      end,
    time: [
      {[~T[00:00:00], ~T[00:00:00.000]], ["00:00:00", "00:00:00.0"]},
      {[~T[12:34:56.5], ~T[12:34:56.500000]], ["12:34:56.5", "12:34:56.50", "12:34:56.500000"]},
      {[~T[12:34:56.05]], ["12:34:56.05", "12:34:56.050"]},
      {[~T[23:59:59.999999]], ["23:59:59.999999"]}
    ],
    timestamp: [
      {[~N[2000-01-01 00:00:00], ~N[2000-01-01 00:00:00.000000]],
       ["2000-01-01 00:00:00", "2000-01-01T00:00:00", "2000-01-01 00:00:00.000"]},
      {[~N[1999-12-31 23:59:59.5]], ["1999-12-31 23:59:59.5", "1999-12-31 23:59:59.500"]},
      {[~N[2024-02-29 01:02:03.123456]], ["2024-02-29 01:02:03.123456"]},
      {[~N[0001-01-01 00:00:00]], ["0001-01-01 00:00:00"]}
    ],
    timestamptz: [
      {[~U[2024-02-29 01:02:03Z], ~U[2024-02-29 01:02:03.000000Z]],
       ~w(2024-02-29T01:02:03Z 2024-02-29T06:32:03+05:30) ++
         ["2024-02-29 01:02:03+00", "2024-02-28 17:02:03-08", "2024-02-29 01:02:03.0+00"]},
      {[~U[2024-02-29 01:02:03.5Z]], ["2024-02-29 01:02:03.50+00", "2024-02-29 13:02:03.5+12"]},
      {[~U[1999-12-31 23:00:00Z]], ["2000-01-01 00:00:00+01", "1999-12-31 23:00:00+00"]},
      {[~U[2000-01-01 00:00:00Z]], ["2000-01-01 00:00:00+00", "1999-12-31 15:15:00-08:45"]}
    ]
  }

  @bad_texts %{
    int2: ["32768", "1.0", ""],
    int4: ["2147483648", "one"],
    int8: ["9223372036854775808", "one", "", " 1"],
    float4: ["one"],
    float8: ["1,5", "1e400"],
    numeric: ["1.5.0", ""],
    bool: ["yes", ""],
    uuid: ["0-0", "sixteen letters!"],
    date: ["2023-02-29", ""],
    time: ["25:00:00", "01:02"],
    timestamp: ["2024-02-30 00:00:00", "2024-02-29"],
    timestamptz: ["2024-02-29 01:02:03", ""]
  }

  # Drawn from at once.
  @constants Map.new(@values, fn {type, values} ->
               {type, values |> Enum.map(&List.to_tuple(elem(&1, 0))) |> List.to_tuple()}
             end)
  @texts_of Map.new(@values, fn {type, values} ->
              {type, values |> Enum.map(&List.to_tuple(elem(&1, 1))) |> List.to_tuple()}
            end)

  @doc "All types that there are values of."
  @spec types() :: [Eval.type()]
  def types, do: Map.keys(@values)

  @doc "The values of a type, each as all of its constants and all of its texts."
  @spec all(Eval.type()) :: [{constants :: [term], texts :: [String.t()]}]
  def all(type), do: Map.fetch!(@values, type)

  @doc "A random constant."
  @spec constant(Eval.type()) :: term
  def constant(type), do: @constants |> Map.fetch!(type) |> draw() |> draw()

  @doc "A random text of a record."
  @spec text(Eval.type()) :: String.t()
  def text(type), do: @texts_of |> Map.fetch!(type) |> draw() |> draw()

  @doc "Texts that are no value of the type, for Eval and for PostgreSQL."
  @spec bad_texts(Eval.type()) :: [String.t()]
  def bad_texts(type), do: Map.get(@bad_texts, type, [])

  defp draw(tuple), do: elem(tuple, :rand.uniform(tuple_size(tuple)) - 1)
end
