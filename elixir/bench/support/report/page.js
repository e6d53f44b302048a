// Draws `plots`, which bench/support/report/plots.exs describes, each on the canvas of its figure.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const alike = (a, b) => Math.abs(a - b) <= 1e-9 * Math.abs(b);

// Three digits, thousands apart.
function figure(value) {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits }).replace(/,/g, "\u00A0");
}

// 10 K, 1 M.
function short(value) {
  if (value >= 1e6) return figure(value / 1e6) + "\u00A0M";
  return value >= 1e4 ? figure(value / 1e3) + "\u00A0K" : figure(value);
}

// 1 is 90 %, 2 is 99 %.
const percent = (nines) => +(100 * (1 - 10 ** -nines)).toFixed(Math.max(0, Math.ceil(nines) - 1));

// On a logarithmic scale: powers of ten, and where there is room 2 and 5 of them as well.
function steps(axis) {
  const room = axis.isHorizontal() ? 30 : 3000;
  const mantissas = axis.max / axis.min > room ? [1] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(axis.min)); 10 ** power <= axis.max; power++) {
    for (const mantissa of mantissas) {
      const value = mantissa * 10 ** power;
      if (value >= axis.min * 0.999 && value <= axis.max * 1.001) ticks.push({ value });
    }
  }
  axis.ticks = ticks;
}

// From the step below the least to the one above the most, so that lines end at a tick.
function limits(values) {
  const step = (value, round) => {
    const power = 10 ** Math.floor(Math.log10(value));
    const steps = [1, 2, 5, 10].map((mantissa) => mantissa * power);
    const fits = (s) => alike(s, value) || (round === "up" ? s > value : s < value);
    return round === "up" ? steps.find(fits) : steps.reverse().find(fits);
  };
  return { min: step(Math.min(...values), "down"), max: step(Math.max(...values), "up") };
}

function scale(axis, values, horizontal) {
  const options = {
    title: { display: true, text: axis.title, color: colour("--quiet") },
    grid: { color: colour("--line"), borderColor: colour("--line") },
    ticks: { color: colour("--text"), maxRotation: 0, callback: (value) => short(value) },
  };
  if (axis.scale === "category") {
    delete options.ticks.callback;
    return { ...options, type: "category", stacked: true, grid: { display: false } };
  }
  if (axis.scale === "nines") {
    options.ticks.callback = (nines) => percent(nines);
    const build = (axis) => {
      const nines = [Math.log10(2), 1, 2, 3, 4, 5];
      axis.ticks = nines.filter((n) => n <= axis.max + 1e-9).map((value) => ({ value }));
    };
    return { ...options, type: "linear", min: Math.log10(2), afterBuildTicks: build, max: Math.max(...values) };
  }
  if (axis.scale === "log") {
    const ends = horizontal ? { min: Math.min(...values), max: Math.max(...values) } : limits(values);
    return { ...options, ...ends, type: "logarithmic", afterBuildTicks: steps };
  }
  return { ...options, type: "linear", beginAtZero: true };
}

// Without colours, markers tell lines apart.
const markers = ["circle", "rect", "triangle", "circle", "rect", "triangle"];

function lines(plot) {
  const few = plot.series.every((series) => series.points.length < 12);
  return plot.series.map((series, number) => ({
    label: series.name,
    data: series.points.map(([x, y]) => ({ x, y })),
    borderColor: colour("--c" + series.colour),
    backgroundColor: colour("--c" + series.colour),
    borderWidth: 2,
    borderDash: series.dashed ? [6, 4] : [],
    pointStyle: markers[number % markers.length],
    pointRadius: few ? 4 : 0,
    // Those at the ends are drawn whole.
    clip: 8,
  }));
}

function bars(plot) {
  return plot.series.map((series) => ({
    label: series.name,
    data: series.points,
    backgroundColor: colour("--c" + series.colour),
    borderColor: colour("--ground"),
    borderWidth: 1,
  }));
}

function tooltip(plot) {
  const value = plot.kind === "bars" ? plot.x : plot.y;
  const over = (x) => (plot.x.scale === "nines" ? percent(x) + " %" : short(x) + " " + plot.x.title);
  const callbacks = {
    label: ({ dataset, parsed }) => {
      const number = plot.kind === "bars" ? parsed.x : parsed.y;
      return " " + dataset.label + ": " + figure(number) + "\u00A0" + value.unit;
    },
  };
  if (plot.kind === "line") callbacks.title = ([item]) => over(item.parsed.x);
  if (plot.kind === "bars") {
    callbacks.title = ([item]) => item.label + " keys";
    callbacks.footer = (items) =>
      "all: " + figure(items.reduce((sum, item) => sum + item.parsed.x, 0)) + "\u00A0" + value.unit;
  }
  const text = colour("--text");
  return {
    callbacks,
    backgroundColor: colour("--raised"),
    borderColor: colour("--quiet"),
    borderWidth: 1,
    titleColor: text,
    bodyColor: text,
    footerColor: text,
    // The squares: as the lines are, without a white ground.
    multiKeyBackground: "transparent",
  };
}

// As lines are drawn: with their dashes.
function legendOfLines(chart) {
  const labels = Chart.defaults.plugins.legend.labels.generateLabels(chart);
  const line = ({ borderDash }) => ({ pointStyle: "line", lineWidth: 2, lineDash: borderDash });
  return labels.map((label) => ({ ...label, ...line(chart.data.datasets[label.datasetIndex]) }));
}

function draw(plot) {
  const horizontal = plot.kind === "bars";
  const values = (place) => plot.series.flatMap(({ points }) => points.map((point) => point[place]));
  return new Chart(document.querySelector("#" + CSS.escape(plot.id) + " canvas"), {
    type: horizontal ? "bar" : "line",
    data: { labels: plot.categories, datasets: horizontal ? bars(plot) : lines(plot) },
    options: {
      animation: false,
      maintainAspectRatio: false,
      indexAxis: horizontal ? "y" : "x",
      interaction: { mode: "index", axis: horizontal ? "y" : "x", intersect: false },
      scales: {
        x: { ...scale(plot.x, values(0), true), ...(horizontal ? { stacked: true } : {}) },
        y: scale(plot.y, values(1), false),
      },
      plugins: {
        legend: {
          position: "bottom",
          align: "start",
          labels: {
            color: colour("--text"),
            padding: 12,
            ...(horizontal
              ? { boxWidth: 14 }
              : { usePointStyle: true, pointStyleWidth: 30, generateLabels: legendOfLines }),
          },
        },
        tooltip: tooltip(plot),
      },
    },
  });
}

let drawn = [];

function drawAll() {
  drawn.forEach((chart) => chart.destroy());
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 13;
  drawn = plots.map(draw);
  document.documentElement.dataset.plots = "drawn";
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
