// Moments as people read them, from seconds since 1970.

const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });

export const moment = (seconds, never = "–") =>
  seconds === null ? never : WHOLE.format(seconds * 1000);
export const day = (seconds) => DAY.format(seconds * 1000);
export const time = (seconds) => TIME.format(seconds * 1000);
