Code.require_file("../../../demo/test_decoding.exs", __DIR__)

defmodule Demo.TestDecodingTest do
  use ExUnit.Case, async: true

  alias Demo.TestDecoding

  defp new(columns) do
    assert [%{kind: :insert, table: "public.t", old: nil, new: new}] =
             TestDecoding.changes("table public.t: INSERT:#{columns}\n")

    new
  end

  describe "values" do
    test "numbers and booleans stand bare, null is nil" do
      assert new(" id[bigint]:-7 n[numeric]:1.50 f[double precision]:-Infinity b[boolean]:true") ==
               %{"id" => "-7", "n" => "1.50", "f" => "-Infinity", "b" => "true"}

      assert new(" a[integer]:null b[text]:'null' c[text]:null") ==
               %{"a" => nil, "b" => "null", "c" => nil}
    end

    test "quotes are doubled within quotes, and nothing else is escaped" do
      assert new(" a[text]:'' b[text]:'''' c[text]:'it''s' d[text]:'''a''' e[text]:'C:\\n'") ==
               %{"a" => "", "b" => "'", "c" => "it's", "d" => "'a'", "e" => "C:\\n"}
    end

    test "text may look like anything else that the plugin prints" do
      assert new(" a[text]:'x[text]:''1'' new-tuple: y[text]:null' b[text]:'z'") ==
               %{"a" => "x[text]:'1' new-tuple: y[text]:null", "b" => "z"}

      assert new(" a[text]:'one\nCOMMIT 7\n' b[text]:'東京 🦀'") ==
               %{"a" => "one\nCOMMIT 7\n", "b" => "東京 🦀"}
    end

    test "bit strings have a mark before the quote" do
      assert new(" a[bit varying]:B'0101' b[bit]:B'1'") == %{"a" => "0101", "b" => "1"}
    end

    test "a long value that the update left alone is marked" do
      assert new(" a[text]:unchanged-toast-datum b[text]:'unchanged-toast-datum'") ==
               %{"a" => :unchanged, "b" => "unchanged-toast-datum"}
    end
  end

  describe "names and types" do
    test "types hold spaces and brackets" do
      assert new(" a[timestamp without time zone]:'2026-01-01 00:00:00' b[integer[]]:'{1,2}'") ==
               %{"a" => "2026-01-01 00:00:00", "b" => "{1,2}"}

      assert new(" a[character varying[]]:null b[public.\"odd]: type\"]:'x'") ==
               %{"a" => nil, "b" => "x"}
    end

    test "quoted columns are unquoted" do
      assert new(~S| "Notes"[text]:'x' "a ""b"" [c]"[integer]:1|) ==
               %{"Notes" => "x", ~S|a "b" [c]| => "1"}
    end

    test "a quoted table may hold a colon" do
      assert [%{table: ~S|public."a: b"|, old: %{"id" => "1"}}] =
               TestDecoding.changes(~S|table public."a: b": DELETE: id[integer]:1|)
    end
  end

  describe "changes" do
    test "are in order, without the marks of transactions" do
      text = """
      BEGIN 733
      table public.t: INSERT: id[integer]:1
      table public.t: UPDATE: id[integer]:2
      COMMIT 733
      BEGIN 734
      table public.t, public.u: TRUNCATE: restart_seqs cascade
      table public.t: DELETE: id[integer]:3
      COMMIT 734 (at 2026-01-01 00:00:00+00)
      """

      assert TestDecoding.changes(text) == [
               %{kind: :insert, table: "public.t", old: nil, new: %{"id" => "1"}},
               %{kind: :update, table: "public.t", old: nil, new: %{"id" => "2"}},
               %{kind: :delete, table: "public.t", old: %{"id" => "3"}, new: nil}
             ]
    end

    test "show the old row as far as the replica identity does" do
      assert [%{kind: :update, old: %{"id" => "1"}, new: %{"id" => "2", "a" => nil}}] =
               TestDecoding.changes(
                 "table public.t: UPDATE: old-key: id[integer]:1 " <>
                   "new-tuple: id[integer]:2 a[text]:null\n"
               )

      assert [%{kind: :delete, old: nil, new: nil}] =
               TestDecoding.changes("table public.t: DELETE: (no-tuple-data)\n")
    end

    test "none are in an empty stream" do
      assert TestDecoding.changes("") == []
    end

    test "text that the plugin would not print is refused, with its place" do
      for wrong <- [
            "hello\n",
            "table public.t: UPSERT: id[integer]:1\n",
            "table public.t: INSERT: id[integer]:\n",
            "table public.t: INSERT: id[integer]:'1\n",
            "table public.t: INSERT: id[integer\n",
            "table public.t: INSERT: id[integer]:'1'x\n",
            "table public.t: UPDATE: old-key: id[integer]:1\n"
          ] do
        assert_raise ArgumentError, ~r/^not test_decoding output, at byte 8: /, fn ->
          TestDecoding.changes("BEGIN 1\n" <> wrong)
        end
      end
    end
  end

  describe "a stream in pieces" do
    @stream """
    BEGIN 733
    table public.t: INSERT: id[integer]:1 a[text]:'it''s
    COMMIT 7' b[text]:'''' "o'd
    d"[text]:'"' c[text]:'東京'
    table public."a'b
    ": DELETE: id[integer]:3
    COMMIT 733
    BEGIN 4294967295
    table public.t: TRUNCATE: (no-flags)
    table public.t: INSERT: id[integer]:2
    COMMIT 4294967295 (at 2026-01-01 00:00:00+00)
    """

    @events [
      {:begin, 733},
      %{
        kind: :insert,
        table: "public.t",
        old: nil,
        new: %{"id" => "1", "a" => "it's\nCOMMIT 7", "b" => "'", "o'd\nd" => "\"", "c" => "東京"}
      },
      %{kind: :delete, table: "public.\"a'b\n\"", old: %{"id" => "3"}, new: nil},
      :commit,
      {:begin, 4_294_967_295},
      %{kind: :insert, table: "public.t", old: nil, new: %{"id" => "2"}},
      :commit
    ]

    defp feed(pieces) do
      {events, _reader} =
        Enum.flat_map_reduce(pieces, TestDecoding.reader(), &TestDecoding.feed(&2, &1))

      events
    end

    test "gives the same events wherever the pieces end" do
      for size <- 1..byte_size(@stream) do
        pieces = for <<piece::binary-size(size) <- @stream>>, do: piece
        left = rem(byte_size(@stream), size)
        last = binary_part(@stream, byte_size(@stream) - left, left)
        assert feed(pieces ++ [last]) == @events
      end
    end

    test "gives an event as soon as its line has ended, and not before" do
      assert {[], reader} = TestDecoding.feed(TestDecoding.reader(), "COMMIT 7")
      assert {[:commit], reader} = TestDecoding.feed(reader, "33\nBEGIN 7")
      assert {[{:begin, 734}], _reader} = TestDecoding.feed(reader, "34\n")
    end

    test "refuses what the plugin would not print" do
      for wrong <- ["BEGIN\n", "BEGIN x\n", "BEGIN 1x\n", "\n", "ROLLBACK 1\n"] do
        assert_raise ArgumentError, ~r/^not test_decoding output/, fn ->
          feed(["COMMIT 1\n", wrong])
        end
      end
    end
  end

  test "rows/1 gives the new row, completed from the old one, and the old one" do
    [insert, update, delete, keyless] =
      TestDecoding.changes("""
      table public.t: INSERT: id[integer]:1 a[text]:'x'
      table public.t: UPDATE: old-key: id[integer]:1 a[text]:'x' new-tuple: id[integer]:2 a[text]:unchanged-toast-datum
      table public.t: DELETE: id[integer]:2
      table public.t: DELETE: (no-tuple-data)
      """)

    assert TestDecoding.rows(insert) == [%{"id" => "1", "a" => "x"}]

    assert TestDecoding.rows(update) == [
             %{"id" => "2", "a" => "x"},
             %{"id" => "1", "a" => "x"}
           ]

    assert TestDecoding.rows(delete) == [%{"id" => "2"}]
    assert TestDecoding.rows(keyless) == []
  end
end
