// Limits of an organization or of a key: as people read them, and as fields.

import { byId } from "./dom.js";
import * as format from "./format.js";

export function limitsText(limits) {
  if (limits === null) return "none";
  const parts = [
    limits.requests_per_minute && `${format.count(limits.requests_per_minute)} a minute`,
    limits.requests_per_day && `${format.count(limits.requests_per_day)} a day`,
  ].filter(Boolean);
  return parts.join(", ") || "none";
}

// `of` is what the names of the fields begin with.
export function showLimits(of, limits) {
  byId(`${of}has-limits`).checked = limits !== null;
  byId(`${of}per-minute`).value = limits?.requests_per_minute ?? "";
  byId(`${of}per-day`).value = limits?.requests_per_day ?? "";
  byId(`${of}burst`).value = limits?.burst_size ?? 10;
  hideOrShow(of);
}

export function hideOrShow(of) {
  byId(`${of}limits`).hidden = !byId(`${of}has-limits`).checked;
}

const wholeNumber = (id) => (byId(id).value === "" ? null : Number(byId(id).value));

export function limitsOf(of) {
  if (!byId(`${of}has-limits`).checked) return null;
  return {
    requests_per_minute: wholeNumber(`${of}per-minute`),
    requests_per_day: wholeNumber(`${of}per-day`),
    burst_size: wholeNumber(`${of}burst`) ?? 0,
  };
}

// What is wrong with the fields, and with which of them; null: nothing.
export function wrongLimits(of) {
  if (!byId(`${of}has-limits`).checked) return null;
  for (const [name, title] of [["per-minute", "Per minute"], ["per-day", "Per day"], ["burst", "Burst"]]) {
    const field = byId(`${of}${name}`);
    // What is no number at all reads as an empty field; the browser knows.
    if (!field.validity.valid) {
      const range = `from ${format.count(Number(field.min))} to ${format.count(Number(field.max))}`;
      return { field, text: `${title}: a whole number ${range}, or nothing.` };
    }
  }
  const limits = limitsOf(of);
  if (limits.requests_per_minute === null && limits.requests_per_day === null) {
    const text = "Say how many per minute, or per day. For no limit, take the tick away.";
    return { field: byId(`${of}per-minute`), text };
  }
  return null;
}
