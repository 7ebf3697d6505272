// What is known of each worker. Any of them may answer, and each counts for itself, so nothing of
// two is ever mixed.

const MOST_POINTS = 900;
const MOST_LOOKS = 61;

export class Workers {
  #known = new Map();
  #chosen = null;

  get all() {
    return [...this.#known.keys()].sort((one, other) => one - other);
  }

  get shown() {
    return this.#known.get(this.#chosen) ?? null;
  }

  choose(processId) {
    if (this.#known.has(processId)) this.#chosen = processId;
  }

  // The worker with this number; another process may have had it before.
  of(processId) {
    if (!this.#known.has(processId)) this.#known.set(processId, { processId, looks: [] });
    this.#chosen ??= processId;
    return this.#known.get(processId);
  }

  noteStats(stats, now) {
    const before = this.#known.get(stats.process_id)?.stats;
    if (before && before.total_requests > stats.total_requests) {
      this.#known.delete(stats.process_id);
    }
    const worker = this.of(stats.process_id);
    worker.stats = stats;
    worker.seenAt = now;
    worker.looks.push({ at: now, reasons: stats.miss_reasons });
    if (worker.looks.length > MOST_LOOKS) worker.looks.shift();
    return worker;
  }

  // Workers that are gone for long are not offered any more.
  forgetSilent(now, milliseconds) {
    for (const [processId, worker] of this.#known) {
      if (now - worker.seenAt <= milliseconds) continue;
      this.#known.delete(processId);
      if (this.#chosen === processId) this.#chosen = this.all[0] ?? null;
    }
  }
}

// Puts points behind those that are there; where both tell of a second, the new ones count.
export function joined(old, more) {
  if (!old || !more.timestamps.length) return old ?? more;
  const first = more.timestamps[0];
  let kept = old.timestamps.length;
  while (kept > 0 && old.timestamps[kept - 1] >= first) kept -= 1;
  const columns = {};
  for (const name of Object.keys(more)) {
    columns[name] = old[name].slice(0, kept).concat(more[name]).slice(-MOST_POINTS);
  }
  return columns;
}
