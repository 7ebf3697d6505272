// A chart over time, drawn by uPlot, in the colours of the style sheet.

import { byId } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 190;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

const minutes = (_chart, splits) => splits.map((at) => format.clock(at * 1000).slice(0, 5));

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function fromZero(_chart, _low, high) {
  return [0, high > 0 ? high * 1.08 : 1];
}

export class Chart {
  constructor(spec) {
    this.spec = spec;
    this.place = byId(spec.place);
    this.drawn = null;
    new ResizeObserver(() => this.#fit()).observe(this.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#recolor());
  }

  // What is shown is made into columns as the chart says.
  show(source) {
    this.last = this.spec.columns(source);
    if (this.drawn === null) this.#draw();
    this.drawn.setData(this.last);
    // Without a pointer over it, the legend tells of the newest second.
    if (this.drawn.cursor.idx === null || this.drawn.cursor.left < 0) {
      this.drawn.setLegend({ idx: this.#newest() });
    }
    this.#describe();
  }

  #recolor() {
    if (this.drawn === null) return;
    this.drawn.destroy();
    this.#draw();
  }

  #width() {
    const style = getComputedStyle(this.place);
    return Math.max(
      120,
      Math.floor(this.place.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)),
    );
  }

  #fit() {
    const width = this.#width();
    if (this.drawn !== null && this.drawn.width !== width) {
      this.drawn.setSize({ width, height: HEIGHT });
    }
  }

  #newest() {
    const known = this.last[1];
    for (let at = known.length - 1; at >= 0; at -= 1) if (known[at] !== null) return at;
    return known.length - 1;
  }

  #draw() {
    const { axes, scales, series, bands = [] } = this.spec;
    const line = { stroke: color("--muted"), font: FONT, ticks: { show: false } };
    const grid = { stroke: color("--line"), width: 1 };
    const options = {
      width: this.#width(),
      height: HEIGHT,
      padding: [8, axes.length > 1 ? 0 : 12, 0, 0],
      cursor: { y: false, sync: { key: "velro-cache" }, points: { size: 7 } },
      legend: { live: true, markers: { width: 3 } },
      scales: { x: { time: true }, ...scales },
      axes: [
        { ...line, grid: { show: false }, size: 30, space: 70, values: this.spec.moments ?? minutes, incrs: this.spec.incrs ?? [60, 120, 300, 600, 900] },
        ...axes.map(({ scale, as, side, size, splits }) => ({
          ...line,
          scale,
          side: side ?? 3,
          size: size ?? 52,
          space: 34,
          splits,
          grid: side ? { show: false } : grid,
          values: (_chart, splits) => splits.map((value) => (value === null ? "" : as(value))),
        })),
      ],
      bands: bands.map((band) => ({ ...band, fill: color(band.fill) })),
      series: [
        { label: "At", value: (_chart, at) => (at === null ? "–" : (this.spec.moment ?? format.clock)(at * 1000)) },
        ...series.map((one) => ({
          label: one.label,
          scale: one.scale ?? "y",
          stroke: color(one.color),
          width: one.width ?? 1,
          fill: one.fill && color(one.fill),
          dash: one.dash,
          points: { show: false },
          spanGaps: false,
          value: (chart, value, _series, at) => {
            if (value === null || at === null) return "–";
            return one.as(one.of ? one.of(chart.data, at) : value);
          },
        })),
      ],
    };
    this.drawn = new globalThis.uPlot(options, this.last, this.place);
    this.drawn.root.querySelector("canvas").setAttribute("role", "img");
    this.#describe();
  }

  // What a chart shows now, for those who do not see it.
  #describe() {
    const at = this.#newest();
    const said = this.spec.series.map(({ label, as, of }, number) => {
      const value = this.last[number + 1][at];
      return `${label} ${as(value === null || !of ? value : of(this.last, at))}`;
    });
    const title = this.place.querySelector("h3").textContent;
    this.drawn.root
      .querySelector("canvas")
      .setAttribute("aria-label", `${title}. Now: ${said.join(", ")}.`);
  }
}
