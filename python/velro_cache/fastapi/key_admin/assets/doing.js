// Changes: one at a time, and what came of it is said where it was asked for.

import { Failed, Unreachable, tell } from "./api.js";
import { say } from "./dom.js";

let isBusy = false;

// Does the work unless another change is going on; `done` follows what was changed.
export async function change(place, path, body, done) {
  if (isBusy) return;
  isBusy = true;
  say(place, "");
  let answer = null;
  let warning = null;
  try {
    answer = await tell(path, body);
  } catch (error) {
    const holds = error instanceof Failed ? error.body?.holds : undefined;
    if (holds) {
      // The change is made: what came with it must not be lost.
      answer = error.body;
      warning = [error.message, holds === "process" ? "critical" : "warning"];
    } else {
      const more = error instanceof Unreachable ? " Whether it was done is not known: reload, and look." : "";
      say(place, `${error.message}${more}`, "critical");
    }
  } finally {
    isBusy = false;
  }
  if (answer === null) return;
  await done(answer.created ?? answer, warning?.[0] ?? "");
  if (warning) say(place, ...warning);
}
