defmodule Demo.TestDecoding do
  @moduledoc """
  Reads what PostgreSQL's `test_decoding` plugin prints, for instance a file that
  `pg_recvlogical` wrote.

  A value is the text that Postgres would send, `nil` for null, or `:unchanged` where the plugin
  printed `unchanged-toast-datum`: a long value which the update left alone.
  """

  @type row :: %{String.t() => String.t() | nil | :unchanged}
  @type change :: %{
          kind: :insert | :update | :delete,
          table: String.t(),
          old: row() | nil,
          new: row() | nil
        }

  @typedoc "A change, or the mark of the transaction that the changes between are part of."
  @type event :: change() | {:begin, xid :: integer()} | :commit

  @typedoc "What came of a record that is not whole yet, and what its next byte is part of."
  @opaque reader :: {binary(), :plain | :value | :name}

  @doc "Reads a stream that comes in pieces: for `feed/2`."
  @spec reader() :: reader()
  def reader, do: {"", :plain}

  @doc """
  The events that are whole with `piece`, which may end anywhere, even within a character.

  Raises as `changes/1` does, with the place in the text since the last event.
  """
  @spec feed(reader(), binary()) :: {[event()], reader()}
  def feed({held, part}, piece) do
    case whole(piece, 0, 0, part) do
      {0, part} ->
        {[], {held <> piece, part}}

      {size, part} ->
        <<text::binary-size(size), rest::binary>> = piece
        text = held <> text
        {events(text, byte_size(text), []), {:binary.copy(rest), part}}
    end
  end

  @doc """
  All row changes in `text`, in order; transaction marks and truncations are passed over.

  `old` is what the table's replica identity shows of the row before the change. Columns that
  were null are missing in it, because the plugin leaves them out there. Raises `ArgumentError`,
  with the byte offset of the line, for text which the plugin would not print.
  """
  @spec changes(binary()) :: [change()]
  def changes(text), do: text |> events(byte_size(text), []) |> Enum.filter(&is_map/1)

  @doc """
  The rows that a change touches: the new one, then the old one, as far as they are known.

  Values that an update left alone are taken from the old row, so both are complete when the
  table's replica identity is full.
  """
  @spec rows(change()) :: [row()]
  def rows(%{new: nil, old: nil}), do: []
  def rows(%{new: new, old: nil}), do: [new]
  def rows(%{new: nil, old: old}), do: [old]

  def rows(%{new: new, old: old}) do
    complete =
      Map.new(new, fn
        {column, :unchanged} -> {column, Map.get(old, column, :unchanged)}
        known -> known
      end)

    [complete, old]
  end

  # How much of the piece is whole records: up to the last line break that is part of no value and
  # of no name. A doubled quote ends its value and begins it again, which comes to the same.
  defp whole(<<byte, rest::binary>>, at, size, part) do
    case {part, byte} do
      {:plain, ?\n} -> whole(rest, at + 1, at + 1, :plain)
      {:plain, ?'} -> whole(rest, at + 1, size, :value)
      {:plain, ?"} -> whole(rest, at + 1, size, :name)
      {:value, ?'} -> whole(rest, at + 1, size, :plain)
      {:name, ?"} -> whole(rest, at + 1, size, :plain)
      _ -> whole(rest, at + 1, size, part)
    end
  end

  defp whole("", _at, size, part), do: {size, part}

  defp events("", _size, acc), do: Enum.reverse(acc)

  defp events(text, size, acc) do
    case read(text, size) do
      {nil, rest} -> events(rest, size, acc)
      {event, rest} -> events(rest, size, [event | acc])
    end
  end

  defp read(text, size) do
    line(text)
  catch
    :unexpected ->
      raise ArgumentError,
            "not test_decoding output, at byte #{size - byte_size(text)}: " <>
              inspect(binary_part(text, 0, min(80, byte_size(text))))
  end

  defp line("BEGIN " <> rest) do
    case Integer.parse(rest) do
      {xid, rest} -> {{:begin, xid}, end_of_line(rest)}
      :error -> throw(:unexpected)
    end
  end

  defp line("COMMIT" <> rest), do: {:commit, after_line(rest)}

  defp line("table " <> rest) do
    {table, rest} = until(rest, ":")

    case rest do
      " INSERT:" <> rest ->
        {new, rest} = row(rest)
        {%{kind: :insert, table: table, old: nil, new: new}, end_of_line(rest)}

      " UPDATE: old-key:" <> rest ->
        {old, rest} = row(rest)
        {new, rest} = rest |> expect(" new-tuple:") |> row()
        {%{kind: :update, table: table, old: old, new: new}, end_of_line(rest)}

      " UPDATE:" <> rest ->
        {new, rest} = row(rest)
        {%{kind: :update, table: table, old: nil, new: new}, end_of_line(rest)}

      " DELETE:" <> rest ->
        {old, rest} = row(rest)
        {%{kind: :delete, table: table, old: old, new: nil}, end_of_line(rest)}

      " TRUNCATE:" <> rest ->
        {nil, after_line(rest)}

      _ ->
        throw(:unexpected)
    end
  end

  defp line(_text), do: throw(:unexpected)

  defp row(" (no-tuple-data)" <> rest), do: {nil, rest}
  defp row(text), do: columns(text, [])

  # column[type]:value, each after one space
  defp columns(" new-tuple:" <> _ = text, row), do: {Map.new(row), text}

  defp columns(" " <> rest, row) do
    {column, rest} = until(rest, "[")
    {_type, rest} = until(rest, "]:")
    {value, rest} = value(rest)
    columns(rest, [{unquote_name(column), value} | row])
  end

  defp columns(text, row), do: {Map.new(row), text}

  defp value("'" <> rest), do: quoted(rest, rest, 0, [])
  defp value("B'" <> rest), do: quoted(rest, rest, 0, [])

  defp value(text) do
    case bare(text, text, 0) do
      {"", _rest} -> throw(:unexpected)
      {"null", rest} -> {nil, rest}
      {"unchanged-toast-datum", rest} -> {:unchanged, rest}
      {bare, rest} -> {:binary.copy(bare), rest}
    end
  end

  # Numbers, booleans and the two words above end where the column ends.
  defp bare(text, <<byte, rest::binary>>, size) when byte not in [?\s, ?\n],
    do: bare(text, rest, size + 1)

  defp bare(text, rest, size), do: {binary_part(text, 0, size), rest}

  # A quote within a value is doubled; nothing else is escaped, so a value may span lines.
  defp quoted(text, <<"''", rest::binary>>, size, done) do
    quoted(rest, rest, 0, [done, binary_part(text, 0, size + 1)])
  end

  defp quoted(text, <<"'", rest::binary>>, size, done) do
    {IO.iodata_to_binary([done | binary_part(text, 0, size)]), rest}
  end

  defp quoted(text, <<_, rest::binary>>, size, done), do: quoted(text, rest, size + 1, done)
  defp quoted(_text, "", _size, _done), do: throw(:unexpected)

  # What stands before `stop`, and what after it. A stop within double quotes is part of a name.
  defp until(text, <<first, _::binary>> = stop), do: until(text, stop, first, text, 0, false)

  defp until(text, stop, first, rest, size, in_quotes?) do
    case rest do
      "\"" <> next ->
        until(text, stop, first, next, size + 1, not in_quotes?)

      <<^first, next::binary>> when not in_quotes? ->
        if String.starts_with?(rest, stop),
          do: {binary_part(text, 0, size), expect(rest, stop)},
          else: until(text, stop, first, next, size + 1, false)

      <<_, next::binary>> ->
        until(text, stop, first, next, size + 1, in_quotes?)

      "" ->
        throw(:unexpected)
    end
  end

  defp unquote_name("\"" <> _ = name) do
    name |> binary_part(1, byte_size(name) - 2) |> String.replace("\"\"", "\"")
  end

  defp unquote_name(name), do: :binary.copy(name)

  defp expect(text, expected) do
    if not String.starts_with?(text, expected), do: throw(:unexpected)
    size = byte_size(expected)
    binary_part(text, size, byte_size(text) - size)
  end

  defp end_of_line("\n" <> rest), do: rest
  defp end_of_line(""), do: ""
  defp end_of_line(_text), do: throw(:unexpected)

  defp after_line(text) do
    case :binary.split(text, "\n") do
      [_line, rest] -> rest
      [_line] -> ""
    end
  end
end
