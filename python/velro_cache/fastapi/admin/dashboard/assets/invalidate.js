// The form that invalidates: checked first, then done, each time by the service.

import { Failed, tell } from "./api.js";
import { byId, say } from "./dom.js";
import * as format from "./format.js";

const KINDS = {
  user: ["Id of the user", "Exactly as the service writes it.", (text) => ({ user_id: text })],
  generation: ["Id of the generation", "Exactly as the service writes it.", (text) => ({ generation_id: text })],
  tags: ["Tags, one a line", "Such as user:7. An entry goes if it carries one of them.", (text) => ({ tags: text.split("\n").map((tag) => tag.trim()).filter(Boolean) })],
  pattern: ["Pattern", "* stands for anything, ? for one character, [ab] for one of these.", (text) => ({ pattern: text })],
  key: ["Key", "The whole key, such as auth:user:7:profile.", (text) => ({ key: text })],
};

const HOLDS = { process: "this worker alone", host: "this host, in all of its workers", bus: "the log", fleet: "all hosts" };

let checked = null;

export function initInvalidate(cacheName, done) {
  const form = byId("invalidate");
  if (form === null) return; // read only
  byId("kind").addEventListener("change", describe);
  form.addEventListener("input", unchecked);
  byId("named").addEventListener("keydown", (event) => {
    // One line for all but tags; and Enter checks, as in any field.
    if (event.key !== "Enter" || byId("kind").value === "tags") return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    check();
  });
  byId("do-it").addEventListener("click", () => invalidate(cacheName, done));
  describe();
}

function describe() {
  const [label, help] = KINDS[byId("kind").value];
  byId("named-label").textContent = label;
  byId("named-help").textContent = help;
  byId("named").rows = byId("kind").value === "tags" ? 3 : 1;
}

// What was checked is what is done: with another character it is to be checked anew. Only what
// confirms a pattern comes after that.
function unchecked(event) {
  if (event.target.id === "confirm") return;
  checked = null;
  byId("do-it").disabled = true;
  byId("confirming").hidden = true;
  byId("confirm").value = "";
  say(byId("invalidated"), "");
}

function asked() {
  const kind = byId("kind").value;
  const wait = byId("wait").value;
  const body = { ...KINDS[kind][2](byId("named").value.trim()), reason: byId("reason").value };
  return { path: `invalidate/${kind}`, body: wait ? { ...body, wait } : body };
}

async function check() {
  const request = asked();
  await busy(async () => {
    const answer = await tell(request.path, { ...request.body, dry_run: true });
    checked = request;
    byId("do-it").disabled = false;
    const entries = answer.would_drop_entries;
    const said =
      entries === null
        ? "The names are right. How many entries they reach shows only when it is done."
        : `This would drop ${format.count(entries)} ${entries === 1 ? "entry" : "entries"} of worker ${answer.process_id}, and what other workers have.`;
    say(byId("invalidated"), `${said} Nothing was changed.`, "info");
  });
}

async function invalidate(cacheName, done) {
  if (checked === null) return;
  const { path, body } = checked;
  const confirm = byId("confirm").value;
  await busy(async () => {
    try {
      const answer = await tell(path, confirm ? { ...body, confirm } : body);
      const entries = answer.dropped_entries;
      finish(`Done. ${format.count(entries)} ${entries === 1 ? "entry" : "entries"} of this worker dropped. It holds on ${HOLDS[answer.holds]}.`, "good");
    } catch (error) {
      if (!(error instanceof Failed) || error.status !== 409) throw error;
      byId("confirming").hidden = false;
      byId("confirm").placeholder = cacheName();
      say(byId("invalidated"), error.message, "warning");
      byId("confirm").focus();
      return;
    }
    done();
  });
}

function finish(text, level) {
  checked = null;
  byId("do-it").disabled = true;
  byId("confirming").hidden = true;
  byId("confirm").value = "";
  say(byId("invalidated"), text, level);
}

async function busy(work) {
  const form = byId("invalidate");
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  try {
    await work();
  } catch (error) {
    // A 503 says how far it came: on this host, or in this worker alone.
    const holds = error.body?.holds;
    if (holds) finish(error.message, holds === "process" ? "critical" : "warning");
    else say(byId("invalidated"), error.message, "critical");
  } finally {
    form.ariaBusy = "false";
  }
}
