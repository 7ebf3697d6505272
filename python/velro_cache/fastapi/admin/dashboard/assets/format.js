// Numbers as people read them. What is not known is a dash.

const UNKNOWN = "–";
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const numbers = (digits) =>
  new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const PLAIN = [numbers(0), numbers(1), numbers(2)];
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => (known(value) ? PLAIN[0].format(value) : UNKNOWN);
export const short = (value) => (known(value) ? SHORT.format(value) : UNKNOWN);
export const percent = (value) => (known(value) ? `${PLAIN[1].format(value)} %` : UNKNOWN);

export const wholePercent = (value) => (known(value) ? `${PLAIN[0].format(value)} %` : UNKNOWN);

export function rate(value) {
  if (!known(value)) return UNKNOWN;
  if (value > 0 && value < 10) return PLAIN[1].format(value);
  return value < 10_000 ? PLAIN[0].format(value) : short(value);
}

export function nanoseconds(value) {
  if (!known(value)) return UNKNOWN;
  if (value < 1_000) return `${PLAIN[0].format(value)} ns`;
  if (value < 1_000_000) return `${PLAIN[1].format(value / 1_000)} µs`;
  return `${PLAIN[1].format(value / 1_000_000)} ms`;
}

export function mebibytes(value) {
  if (!known(value)) return UNKNOWN;
  return `${PLAIN[value < 10 ? 2 : value < 100 ? 1 : 0].format(value)} MiB`;
}

export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  if (value < 1024) return `${value} bytes`;
  return value < 1024 * 1024 ? `${PLAIN[1].format(value / 1024)} KiB` : mebibytes(value / 1024 ** 2);
}

export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 1) return `${PLAIN[0].format(seconds * 1000)} ms`;
  if (seconds < 120) return `${PLAIN[seconds < 10 ? 1 : 0].format(seconds)} s`;
  if (seconds < 7200) return `${PLAIN[0].format(seconds / 60)} min`;
  return `${PLAIN[1].format(seconds / 3600)} h`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
export const clock = (moment) => CLOCK.format(moment);
