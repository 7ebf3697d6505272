// From counts to what is shown. No document in here, so each of these can be tried by itself.

const RECENT_SECONDS = 10;

// Sums over the last seconds that are known.
export function recent(points, seconds = RECENT_SECONDS) {
  const sums = { seconds: 0, hits: 0, misses: 0, loads: 0, samples: 0, p50: 0, p99: null };
  if (!points) return sums;
  for (let at = points.timestamps.length - 1; at >= 0 && sums.seconds < seconds; at -= 1) {
    if (points.seconds[at] === null) continue;
    sums.seconds += points.seconds[at];
    for (const name of ["hits", "misses", "loads"]) sums[name] += points[name][at];
    const samples = points.samples[at];
    if (!samples) continue;
    sums.p50 += points.p50_ns[at] * samples;
    sums.p99 = Math.max(sums.p99 ?? 0, points.p99_ns[at]);
    sums.samples += samples;
  }
  return sums;
}

export function summary(points) {
  const { seconds, hits, misses, loads, samples, p50, p99 } = recent(points);
  const lookups = hits + misses;
  return {
    hitRatePercent: lookups ? (100 * hits) / lookups : null,
    lookupsPerSecond: seconds ? lookups / seconds : null,
    loadsPerSecond: seconds ? loads / seconds : null,
    p50Ns: samples ? p50 / samples : null,
    p99Ns: p99,
  };
}

const perSecond = (points, name) =>
  points[name].map((value, at) => (value === null ? null : value / (points.seconds[at] || 1)));

export function lookupColumns(points) {
  const hits = perSecond(points, "hits");
  const misses = perSecond(points, "misses");
  const total = hits.map((value, at) => (value === null ? null : value + misses[at]));
  const rate = hits.map((value, at) => (total[at] ? (100 * value) / total[at] : null));
  return [points.timestamps, total, hits, rate];
}

// A logarithm has no place for zero.
const positive = (values) => values.map((value) => (value === null ? null : Math.max(1, value)));

export function latencyColumns(points) {
  return [points.timestamps, positive(points.p50_ns), positive(points.p99_ns)];
}

const MIB = 1024 * 1024;
const share = (values, limit) =>
  values.map((value) => (value === null ? null : (100 * value) / limit));

export function fillColumns(points, stats) {
  return [
    points.timestamps,
    share(points.entries, stats.max_entries),
    share(points.bytes, stats.max_size_mb * MIB),
    points.timestamps.map(() => 100),
  ];
}

export function leavingColumns(points) {
  return [
    points.timestamps,
    perSecond(points, "evictions"),
    perSecond(points, "expirations"),
    perSecond(points, "invalidations"),
  ];
}

// Misses by reason: since the worker began, and since the oldest look that is remembered.
export function missReasons(worker) {
  const now = worker.looks.at(-1);
  const before = worker.looks[0];
  const all = worker.stats.cache_misses;
  return Object.entries(now.reasons)
    .map(([reason, misses]) => ({
      reason,
      misses,
      lately: misses - (before.reasons[reason] ?? 0),
      share: all ? misses / all : 0,
    }))
    .sort((one, other) => other.misses - one.misses);
}
