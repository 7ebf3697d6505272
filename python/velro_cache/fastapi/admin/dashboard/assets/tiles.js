// The figures at the top: how things are now.

import { byId, element, bar } from "./dom.js";
import * as format from "./format.js";
import { summary } from "./figures.js";

// A full cache is no fault: it keeps what is worth most. What it costs is told by evictions.
const FULL = 0.995;

export function showTiles(worker) {
  const { stats, targets, points } = worker;
  const now = summary(points);
  byId("tiles").replaceChildren(
    hitRate(now, stats, targets),
    tile("Lookups per second", format.rate(now.lookupsPerSecond), [
      `${format.rate(now.loadsPerSecond)} loads per second`,
    ]),
    latency(now, stats, targets),
    room("Entries", stats.total_entries, stats.max_entries, format.count),
    room("Memory", stats.total_size_mb, stats.max_size_mb, format.mebibytes, (limit) => `${format.count(limit)} MiB`),
    tile("Loads spared", format.short(stats.cache_hits), [
      `${format.percent(stats.hit_rate_percent)} of all lookups since this worker began`,
    ]),
  );
}

function tile(label, value, details, verdict = null) {
  return element(
    "li",
    { class: "tile" },
    element("span", { class: "label" }, label),
    element("span", { class: "value number" }, value),
    ...details.map((detail) =>
      typeof detail === "string" ? element("span", { class: "detail" }, detail) : detail,
    ),
    verdict && element("span", { class: `verdict ${verdict.level}` }, verdict.text),
  );
}

function met(isMet, target) {
  return isMet
    ? { level: "good", text: `meets ${target}` }
    : { level: "warning", text: `does not meet ${target}` };
}

function hitRate(now, stats, targets) {
  const shown = now.hitRatePercent;
  const target = targets?.target_hit_rate_percent;
  const verdict =
    shown === null || !target ? null : met(shown >= target, `${target} %`);
  return tile("Hit rate now", format.percent(shown), [], verdict);
}

function latency(now, stats, targets) {
  const target = targets?.target_access_time_ms;
  const verdict =
    now.p50Ns === null || !target ? null : met(now.p50Ns <= target * 1e6, `${target} ms`);
  return tile(
    "Lookup p50",
    format.nanoseconds(now.p50Ns),
    [`p99 ${format.nanoseconds(now.p99Ns)}`],
    verdict,
  );
}

function room(label, value, limit, as, asLimit = as) {
  const share = limit ? value / limit : 0;
  const part = format.wholePercent(100 * share);
  return tile(
    label,
    as(value),
    [
      bar(share, `${label}: ${part} of the limit`),
      `${part} of ${asLimit(limit)}`,
    ],
    share >= FULL ? { level: "info", text: "full" } : null,
  );
}
