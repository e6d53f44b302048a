defmodule LsmIndex.Postgres.Calendar do
  @moduledoc false

  # Reads dates and times in the ISO date style. The structs are built here, because PostgreSQL
  # has years (up to 5874897) and one time (24:00:00) that Elixir's own constructors refuse.

  # Julian day 0, where PostgreSQL's calendar begins, lies in 4714 BC.
  @first_bc_year 4714
  @last_date_year 5_874_897
  @last_timestamp_year 294_276

  defguardp is_digit(char) when char in ?0..?9

  @spec date(binary) :: {:ok, Date.t() | :infinity | :neg_infinity} | :error
  def date("infinity"), do: {:ok, :infinity}
  def date("-infinity"), do: {:ok, :neg_infinity}

  def date(text) do
    with {year, month, day, rest} <- year_month_day(text),
         {year, month, day} <- in_era(year, month, day, rest, @last_date_year) do
      {:ok, %Date{year: year, month: month, day: day}}
    end
  end

  @spec time(binary) :: {:ok, Time.t()} | :error
  def time("24:00:00"), do: {:ok, %Time{hour: 24, minute: 0, second: 0}}

  def time(text) do
    case time_of_day(text) do
      {hour, minute, second, microsecond, ""} ->
        {:ok, %Time{hour: hour, minute: minute, second: second, microsecond: microsecond}}

      _ ->
        :error
    end
  end

  @spec timestamp(binary) :: {:ok, NaiveDateTime.t() | :infinity | :neg_infinity} | :error
  def timestamp("infinity"), do: {:ok, :infinity}
  def timestamp("-infinity"), do: {:ok, :neg_infinity}

  def timestamp(text) do
    with {year, month, day, <<separator, rest::binary>>} when separator in [?\s, ?T] <-
           year_month_day(text),
         {hour, minute, second, microsecond, rest} <- time_of_day(rest),
         {year, month, day} <- in_era(year, month, day, rest, @last_timestamp_year) do
      {:ok,
       %NaiveDateTime{
         year: year,
         month: month,
         day: day,
         hour: hour,
         minute: minute,
         second: second,
         microsecond: microsecond
       }}
    else
      _ -> :error
    end
  end

  @spec timestamptz(binary) :: {:ok, DateTime.t() | :infinity | :neg_infinity} | :error
  def timestamptz("infinity"), do: {:ok, :infinity}
  def timestamptz("-infinity"), do: {:ok, :neg_infinity}

  def timestamptz(text) do
    with {year, month, day, <<separator, rest::binary>>} when separator in [?\s, ?T] <-
           year_month_day(text),
         {hour, minute, second, microsecond, rest} <- time_of_day(rest),
         {offset, zone, rest} <- zone(rest),
         {year, month, day} <- in_era(year, month, day, rest, @last_timestamp_year) do
      {:ok,
       %DateTime{
         year: year,
         month: month,
         day: day,
         hour: hour,
         minute: minute,
         second: second,
         microsecond: microsecond,
         utc_offset: offset,
         std_offset: 0,
         time_zone: if(offset == 0, do: "Etc/UTC", else: zone),
         zone_abbr: if(offset == 0, do: "UTC", else: zone)
       }}
    else
      _ -> :error
    end
  end

  defp year_month_day(text) do
    case year(text, 0, 0) do
      {year, <<m1, m2, ?-, d1, d2, rest::binary>>}
      when is_digit(m1) and is_digit(m2) and is_digit(d1) and is_digit(d2) ->
        {year, pair(m1, m2), pair(d1, d2), rest}

      _ ->
        :error
    end
  end

  # A year has four digits at least; PostgreSQL's largest has seven.
  defp year(<<digit, rest::binary>>, year, size) when is_digit(digit) and size < 7,
    do: year(rest, year * 10 + digit - ?0, size + 1)

  defp year(<<?-, rest::binary>>, year, size) when size >= 4, do: {year, rest}
  defp year(_text, _year, _size), do: :error

  # There is no year 0: in the astronomical count that Elixir keeps, it is 1 BC.
  defp in_era(year, month, day, "", last) when year >= 1 and year <= last,
    do: existing(year, month, day)

  defp in_era(year, month, day, " BC", _last) when year in 1..@first_bc_year,
    do: existing(1 - year, month, day)

  defp in_era(_year, _month, _day, _rest, _last), do: :error

  defp existing(year, month, day) do
    if month in 1..12 and day in 1..days_in_month(year, month),
      do: {year, month, day},
      else: :error
  end

  defp days_in_month(year, 2) do
    leap? = rem(year, 4) == 0 and (rem(year, 100) != 0 or rem(year, 400) == 0)
    if leap?, do: 29, else: 28
  end

  defp days_in_month(_year, month) when month in [4, 6, 9, 11], do: 30
  defp days_in_month(_year, _month), do: 31

  defp time_of_day(<<h1, h2, ?:, m1, m2, ?:, s1, s2, rest::binary>>)
       when h1 in ?0..?2 and is_digit(h2) and m1 in ?0..?5 and is_digit(m2) and
              s1 in ?0..?5 and is_digit(s2) do
    with hour when hour < 24 <- pair(h1, h2),
         {microsecond, rest} <- fraction(rest) do
      {hour, pair(m1, m2), pair(s1, s2), microsecond, rest}
    else
      _ -> :error
    end
  end

  defp time_of_day(_text), do: :error

  defp fraction(<<?., digit, rest::binary>>) when is_digit(digit),
    do: fraction(rest, digit - ?0, 1)

  defp fraction(rest), do: {{0, 0}, rest}

  defp fraction(<<digit, rest::binary>>, n, size) when is_digit(digit) and size < 6,
    do: fraction(rest, n * 10 + digit - ?0, size + 1)

  defp fraction(rest, n, size), do: {{n * scale(size), size}, rest}

  defp scale(6), do: 1
  defp scale(size), do: 10 * scale(size + 1)

  # "+05:30" -> {19800, "+05:30", ""}. PostgreSQL's offsets end short of 16 hours.
  defp zone(<<?Z, rest::binary>>), do: {0, "Z", rest}

  defp zone(<<sign, h1, h2, rest::binary>> = text)
       when sign in [?+, ?-] and
              ((h1 == ?0 and is_digit(h2)) or (h1 == ?1 and h2 in ?0..?5)) do
    {minutes, rest} = zone_part(rest)
    {seconds, rest} = zone_part(rest)
    offset = pair(h1, h2) * 3600 + minutes * 60 + seconds
    zone = binary_part(text, 0, byte_size(text) - byte_size(rest))
    {if(sign == ?-, do: -offset, else: offset), zone, rest}
  end

  defp zone(_text), do: :error

  defp zone_part(<<?:, a, b, rest::binary>>) when a in ?0..?5 and is_digit(b),
    do: {pair(a, b), rest}

  defp zone_part(rest), do: {0, rest}

  defp pair(a, b), do: (a - ?0) * 10 + b - ?0
end
