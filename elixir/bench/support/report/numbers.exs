defmodule Bench.Report.Numbers do
  @moduledoc false
  # Figures as people read them: three digits, and thousands apart.

  # Does not break at the end of a line.
  @space "\u00A0"

  @doc "What a cell of a table shows."
  def cell(nil), do: ""
  def cell(text) when is_binary(text), do: text
  def cell(number) when is_integer(number), do: grouped(number)
  def cell(number) when number != 0 and abs(number) < 0.00995, do: decimals(number, 4)
  def cell(number) when abs(number) < 9.995, do: decimals(number, 2)
  def cell(number) when abs(number) < 99.95, do: decimals(number, 1)
  def cell(number), do: number |> round() |> grouped()

  @doc "A text with the thousands of its long numbers apart."
  def spaced(text, space \\ @space), do: Regex.replace(~r/\d{5,}/, text, &group(&1, space))

  @doc "A number of keys: 10 K, 1 M."
  def count(n) when n >= 1_000_000 and rem(n, 100_000) == 0, do: short(n / 1.0e6) <> "\u00A0M"
  def count(n) when n >= 10_000 and rem(n, 100) == 0, do: short(n / 1.0e3) <> "\u00A0K"
  def count(n), do: grouped(n)

  defp short(number), do: if(number == round(number), do: "#{round(number)}", else: "#{number}")

  defp decimals(number, decimals), do: :erlang.float_to_binary(number / 1, decimals: decimals)

  defp grouped(number) when abs(number) < 10_000, do: Integer.to_string(number)
  defp grouped(number), do: number |> Integer.to_string() |> group(@space)

  defp group(digits, space) do
    digits
    |> String.reverse()
    |> String.replace(~r/(\d{3})(?=\d)/, "\\1" <> String.reverse(space))
    |> String.reverse()
  end
end
