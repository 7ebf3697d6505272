// Four charts of the last 15 minutes, drawn by uPlot, in the colours of the style sheet.

import { Chart, fromZero } from "./chart.js";
import * as format from "./format.js";
import { fillColumns, latencyColumns, leavingColumns, lookupColumns } from "./figures.js";

const SPECS = [
  {
    place: "chart-lookups",
    columns: (worker) => lookupColumns(worker.points),
    axes: [{ scale: "y", as: format.short }, { scale: "%", as: (value) => `${value} %`, side: 1 }],
    scales: { y: { range: fromZero }, "%": { range: [0, 100] } },
    // The first line is the sum; between it and the hits are the misses.
    bands: [{ series: [1, 2], fill: "--miss-fill" }],
    series: [
      { label: "Misses", color: "--miss", of: (data, at) => data[1][at] - data[2][at], as: format.rate },
      { label: "Hits", color: "--hit", fill: "--hit-fill", as: format.rate },
      { label: "Hit rate", color: "--rate", scale: "%", width: 1.5, as: format.percent },
    ],
  },
  {
    place: "chart-latency",
    columns: (worker) => latencyColumns(worker.points),
    axes: [{ scale: "y", as: wholeNanoseconds, size: 60, splits: powersOfTen }],
    scales: { y: { distr: 3, log: 10 } },
    series: [
      { label: "p50", color: "--hit", width: 1.5, as: format.nanoseconds },
      { label: "p99", color: "--miss", as: format.nanoseconds },
    ],
  },
  {
    place: "chart-fill",
    columns: (worker) => fillColumns(worker.points, worker.stats),
    axes: [{ scale: "y", as: (value) => `${value} %` }],
    scales: { y: { range: [0, 108] } },
    series: [
      { label: "Entries", color: "--rate", fill: "--rate-fill", width: 2, as: format.percent },
      { label: "Memory", color: "--hit", width: 2, as: format.percent },
      { label: "Limit", color: "--bad", dash: [4, 4], as: format.percent },
    ],
  },
  {
    place: "chart-leaving",
    columns: (worker) => leavingColumns(worker.points),
    axes: [{ scale: "y", as: format.short }],
    scales: { y: { range: fromZero } },
    series: [
      { label: "Evicted", color: "--miss", width: 1.5, as: format.rate },
      { label: "Expired", color: "--rate", width: 1.5, as: format.rate },
      { label: "Invalidated", color: "--bad", width: 2, as: format.rate },
    ],
  },
];

function powersOfTen(_chart, _axis, low, high) {
  const splits = [];
  for (let value = 10 ** Math.floor(Math.log10(low)); value <= high; value *= 10) {
    if (value >= low) splits.push(value);
  }
  return splits;
}

function wholeNanoseconds(value) {
  return format.nanoseconds(value).replace(".0", "");
}

export function makeCharts() {
  const charts = SPECS.map((spec) => new Chart(spec));
  return (worker) => {
    if (worker.points?.timestamps.length) charts.forEach((chart) => chart.show(worker));
  };
}
