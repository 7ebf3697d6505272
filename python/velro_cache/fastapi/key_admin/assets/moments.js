// Moments as people read them, from seconds since 1970.

const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });

export const moment = (seconds, never = "–") =>
  seconds === null ? never : WHOLE.format(seconds * 1000);
export const day = (seconds) => DAY.format(seconds * 1000);
export const time = (seconds) => TIME.format(seconds * 1000);
export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

// For fields of a day and a time, which know no zone: by the clock of whoever looks.
export function asField(seconds) {
  const at = new Date(seconds * 1000);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
export const fromField = (text) => Date.parse(text) / 1000;
