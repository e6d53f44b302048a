# What the benches measured, as Markdown and as a page with plots. It runs none of them: `make report`
# does, and then calls this with the directory that their tables are in, the file of Chart.js, and the
# directory that it writes benchmarks.md and benchmarks.html to.
#
#     elixir bench/report.exs ../target/report /usr/share/javascript/chart.js/chart.min.js ../docs
#
# A bench that left no tables is left out, except those that plots are made of: without them it fails.

for part <- ~w(tables numbers benches plots machine markdown page),
    do: Code.require_file("support/report/#{part}.exs", __DIR__)

alias Bench.Report.{Benches, Machine, Markdown, Page, Plots}

[tables, charts, to] = System.argv()
benches = Benches.read!(tables)
report = %{benches: benches, plots: Plots.all!(benches), facts: Machine.facts()}

for {name, text} <- [
      {"benchmarks.md", Markdown.render(report)},
      {"benchmarks.html", Page.render(report, charts)}
    ] do
  file = Path.join(to, name)
  File.write!(file, text)
  IO.puts("report: wrote #{Path.relative_to_cwd(file)}")
end
