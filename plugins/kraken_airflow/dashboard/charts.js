// Draws every chart of the page from the data beside it. All text is set as text; nothing is read as markup.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const HEIGHT = 220;
  const redraws = [];

  // Colours depend on the theme: only an element that has one says which it is now.
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };

  const moment = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");

  // Write a time below the axis; where a day begins, or the axis does, the day stands below it.
  const timeWords = (splits, step) =>
    splits.map((seconds, place) => {
      const [day, time] = moment(seconds).split(" ");
      if (step >= 86400) return day.slice(5);
      return place === 0 || time === "00:00" ? `${time}\n${day.slice(5)}` : time;
    });

  // Whole values are counts: no axis speaks of half a session.
  const steps = [...Array(15).keys()].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));

  const number = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(12))));

  const withAxis = (axis) => ({
    stroke: colour("--quiet"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
    ...axis,
  });

  const axes = (data) => [
    withAxis(
      data.labels.length
        ? {
            values: (u, splits) => splits.map((place) => data.labels[place] ?? ""),
            splits: () => data.points,
            space: 10,
            rotate: 45,
            size: 74,
            grid: { show: false },
          }
        : { values: (u, splits, axis, space, step) => timeWords(splits, step), space: 62, size: 46 },
    ),
    withAxis({
      ...(data.values.flat().every((value) => value === null || Number.isInteger(value)) ? { incrs: steps } : {}),
      values: (u, splits) => splits.map(number),
      size: (u, words) => 18 + 7 * Math.max(3, ...(words ?? []).map((word) => String(word).length)),
    }),
  ];

  const series = (data) => [
    {},
    ...data.names.map((label, place) => {
      const stroke = colour(`--line${place + 1}`);
      if (!data.labels.length) return { label, stroke, width: 2, points: { show: data.points.length < 30, size: 5 } };
      const alone = data.names.length === 1;
      const paths = uPlot.paths.bars({ size: [alone ? 0.7 : 0.38, 60], align: alone ? 0 : place ? 1 : -1 });
      return { label, stroke, fill: stroke, width: 0, paths, points: { show: false } };
    }),
  ];

  const options = (data, width, hooks) => {
    const isBars = data.labels.length > 0;
    return {
      width,
      height: HEIGHT,
      hooks,
      padding: [12, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: !isBars, y: false } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: isBars ? { time: false, range: [-0.6, data.points.length - 0.4] } : { time: true },
        y: { range: (u, least, most) => [Math.min(0, least ?? 0), most > 0 ? most * 1.08 : 1] },
      },
      axes: axes(data),
      series: series(data),
    };
  };

  const draw = (figure) => {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const box = figure.querySelector(".drawing");
    const places = [...figure.querySelectorAll(".legend .value")];
    const told = places.map((place) => place.textContent);
    const pointed = figure.querySelector(".pointed");
    const tools = figure.querySelector(".tools");
    const first = data.points[0];
    const last = data.points[data.points.length - 1];
    let plot = null;

    // Without a pointer the legend says what the page said.
    const tell = (u) => {
      const at = u.cursor.idx;
      const isOver = at !== null && at !== undefined && u.cursor.left >= 0;
      pointed.textContent = isOver ? (data.labels[at] ?? `${moment(data.points[at])} UTC`) : "";
      places.forEach((place, row) => {
        const value = isOver ? data.values[row][at] : null;
        place.textContent = isOver ? (value === null ? "-" : number(value)) : told[row];
      });
    };

    // Whoever looks closer keeps what they see when the page is refreshed.
    const mark = (u, key) => {
      const { min, max } = u.scales.x;
      if (key === "x") figure.toggleAttribute("data-zoomed", !data.labels.length && (min > first || max < last));
    };

    const make = (zoom) => {
      plot?.destroy();
      const hooks = { setCursor: [tell], setScale: [mark] };
      plot = new uPlot(options(data, box.clientWidth, hooks), [data.points, ...data.values], box);
      const canvas = plot.root.querySelector("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", figure.dataset.summary);
      if (zoom) plot.setScale("x", zoom);
    };

    box.hidden = false;
    make(null);
    redraws.push(() => make(data.labels.length ? null : { ...plot.scales.x }));
    new ResizeObserver(() => {
      if (box.clientWidth && box.clientWidth !== plot.width) {
        plot.setSize({ width: box.clientWidth, height: HEIGHT });
      }
    }).observe(box);
    if (!tools) return;
    tools.hidden = false;
    const [closer, all] = tools.querySelectorAll("button");
    closer.addEventListener("click", () => {
      const { min, max } = plot.scales.x;
      plot.setScale("x", { min: max - (max - min) / 2, max });
    });
    all.addEventListener("click", () => plot.setScale("x", { min: first, max: last }));
  };

  const drawAll = () => {
    redraws.length = 0;
    document.querySelectorAll("figure.chart").forEach(draw);
  };
  const redraw = () => redraws.forEach((again) => again());

  drawAll();
  document.addEventListener("refreshed", drawAll);
  document.addEventListener("themed", redraw);
  dark.addEventListener("change", redraw);
})();
