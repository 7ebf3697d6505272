// The keys of the chosen organization: which there are, a new one, another one in its place, the end.

import { ask } from "./api.js";
import { confirmed } from "./asking.js";
import { change } from "./doing.js";
import { byId, element, nothing, say, table } from "./dom.js";
import { forgetMade, showMade } from "./made.js";
import { moment } from "./moments.js";
import { chosen } from "./organizations.js";

const LEVELS = { live: "good", off: "warning", expired: "warning", revoked: "critical" };
const DAY_SECONDS = 86_400;

let listed = [];
let after = null;
let changed = async () => {};

export async function loadKeys() {
  const organization = chosen();
  if (organization === null) return;
  const wanted = Math.min(1000, Math.max(50, listed.length));
  await take({ limit: wanted }, organization.id, []);
}

async function take(query, organizationId, before) {
  const page = await ask("keys", { ...query, organization_id: organizationId });
  // Meanwhile another one may have been chosen.
  if (chosen()?.id !== organizationId) return;
  listed = [...before, ...page.keys];
  after = page.next_after;
  showKeys();
}

export function forgetKeys() {
  listed = [];
  after = null;
  forgetMade();
  say(byId("said"), "");
  byId("keys").replaceChildren();
}

function actions(key) {
  if (byId("asking") === null) return "–"; // read only
  const name = key.name || key.shown || key.id;
  const button = (text, kind, work) =>
    element(
      "button",
      { type: "button", class: `link ${kind}`, "aria-label": `${text} ${name}`, onclick: () => work(key) },
      text,
    );
  return element(
    "span",
    { class: "actions" },
    key.state === "live" ? button("Rotate", "", rotate) : null,
    key.state === "revoked" ? null : button("Revoke", "danger", revoke),
    key.state === "revoked" ? "–" : null,
  );
}

function showKeys() {
  const columns = [
    { title: "Name", kind: "wide-text" },
    { title: "Begins with", kind: "name" },
    { title: "State", kind: "text" },
    { title: "Scopes", kind: "text" },
    { title: "Made", kind: "nowrap" },
    { title: "Last used", kind: "nowrap" },
    { title: "Ends", kind: "nowrap" },
    { title: "Change", kind: "text" },
  ];
  const rows = listed.map((key) => [
    element("span", { title: `id ${key.id}` }, key.name || key.id),
    element("code", {}, `${key.shown}…`),
    element("span", { class: `verdict ${LEVELS[key.state]}` }, key.state),
    key.scopes.length ? element("code", {}, key.scopes.join(" ")) : "–",
    moment(key.created_at),
    moment(key.last_used_at, "never"),
    key.revoked_at === null ? moment(key.expires_at, "never") : moment(key.revoked_at),
    actions(key),
  ]);
  byId("keys").replaceChildren(
    listed.length ? table("Keys", columns, rows) : nothing("It has no key yet."),
  );
  byId("more-keys").hidden = after === null;
}

async function create(event) {
  event.preventDefault();
  const days = byId("key-life").value;
  const body = {
    organization_id: chosen().id,
    name: byId("key-name").value.trim(),
    scopes: byId("key-scopes").value.split(/\s+/).filter(Boolean),
    reason: byId("key-reason").value,
  };
  if (days) body.expires_at = Math.floor(Date.now() / 1000) + Number(days) * DAY_SECONDS;
  await change(byId("key-said"), "keys", body, async (made, warning) => {
    byId("new-key").reset();
    showMade(made.plain_key, warning);
    await changed();
  });
}

async function rotate(key) {
  const answer = await confirmed({
    title: `Rotate ${key.name || key.shown}?`,
    text: "A new key takes its place, with the same name, scopes and limits.",
    yes: "Rotate",
    hasOverlap: true,
  });
  if (answer === null) return;
  const body = { key_id: key.id, overlap_seconds: answer.overlapSeconds, reason: answer.reason };
  await change(byId("said"), "keys/rotate", body, async (made, warning) => {
    if (made.plain_key) showMade(made.plain_key, warning);
    await changed();
  });
}

async function revoke(key) {
  const answer = await confirmed({
    title: `Revoke ${key.name || key.shown}?`,
    text: `The key ${key.shown}… ends now, for good. Whoever uses it is refused from the next request on.`,
    yes: "Revoke for good",
    isDanger: true,
  });
  if (answer === null) return;
  await change(byId("said"), "keys/revoke", { key_id: key.id, reason: answer.reason }, async () => {
    await changed();
    say(byId("said"), `${key.name || key.shown} is revoked.`, "good");
    byId("chosen-title").focus();
  });
}

export function initKeys(whenChanged, failed) {
  changed = whenChanged;
  byId("more-keys").addEventListener("click", () =>
    take({ limit: 50, after }, chosen().id, listed).catch(failed),
  );
  byId("new-key")?.addEventListener("submit", create);
}
