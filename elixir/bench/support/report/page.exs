defmodule Bench.Report.Page do
  @moduledoc false
  # The report as a page with plots, in one file: style, script, figures and Chart.js are in it.

  require EEx
  alias Bench.Report.{Numbers, Tables}

  @template Path.join(__DIR__, "page.html.eex")
  @style Path.join(__DIR__, "page.css")
  @script Path.join(__DIR__, "page.js")

  EEx.function_from_file(:defp, :template, @template, [:report, :style, :scripts], trim: true)

  @doc "`charts` is the file of Chart.js."
  def render(report, charts) do
    data = ["const plots = ", json(report.plots), ";\n"]
    scripts = for script <- [File.read!(charts), [data, File.read!(@script)]], do: inline(script)
    template(report, File.read!(@style), scripts)
  end

  # Nothing in it may end the element it is in.
  defp inline(script) do
    script
    |> IO.iodata_to_binary()
    |> String.replace("</", "<\\/")
    |> String.replace("<!--", "<\\!--")
  end

  defp html(text) do
    for <<char::utf8 <- to_string(text)>>, into: "" do
      case char do
        ?& -> "&amp;"
        ?< -> "&lt;"
        ?> -> "&gt;"
        ?" -> "&quot;"
        char -> <<char::utf8>>
      end
    end
  end

  # Words in backquotes are code.
  defp prose(text), do: Regex.replace(~r/`([^`]+)`/, html(text), "<code>\\1</code>")

  defp cell(cell), do: cell |> Numbers.cell() |> html()

  # Long words get room, and break.
  defp kind(:right, _cell), do: ""

  defp kind(:left, cell) do
    if String.length(to_string(cell)) > 40, do: ~s( class="words long"), else: ~s( class="words")
  end

  # This Elixir may be older than its JSON module.
  defp json(nil), do: "null"
  defp json(value) when is_boolean(value) or is_integer(value), do: to_string(value)

  defp json(value) when is_float(value),
    do: :erlang.float_to_binary(value, [:compact, decimals: 4])

  defp json(value) when is_atom(value), do: json(Atom.to_string(value))
  defp json(value) when is_list(value), do: [?[, Enum.map_intersperse(value, ?,, &json/1), ?]]

  defp json(value) when is_map(value) do
    pairs = for {key, value} <- value, do: [json(key), ?:, json(value)]
    [?{, Enum.intersperse(pairs, ?,), ?}]
  end

  defp json(text) when is_binary(text) do
    escaped =
      for <<char::utf8 <- text>>, into: "" do
        if char in [?", ?\\] or char < 0x20 do
          "\\u" <> (char |> Integer.to_string(16) |> String.pad_leading(4, "0"))
        else
          <<char::utf8>>
        end
      end

    [?", escaped, ?"]
  end
end
