// The keys of the chosen organization: which there are, a new one, and what is done with each.

import { ask } from "./api.js";
import { confirmed } from "./asking.js";
import { change } from "./doing.js";
import { byId, element, nothing, say, table } from "./dom.js";
import { limitsText } from "./limits.js";
import { forgetMade, showMade } from "./made.js";
import { moment } from "./moments.js";
import { askEnd, askLimits, initOneKey } from "./one_key.js";
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

const nameOf = (key) => key.name || key.shown || key.id;

function actions(key) {
  if (byId("asking") === null || key.state === "revoked") return "–"; // read only, or over
  const button = (text, kind, work) =>
    element(
      "button",
      {
        type: "button",
        class: `link ${kind}`,
        "aria-label": `${text} ${nameOf(key)}`,
        "data-key": key.id,
        "data-work": text,
        onclick: () => work(key),
      },
      text,
    );
  const hasEnded = key.state === "expired";
  return element(
    "span",
    { class: "actions" },
    key.state === "live" ? button("Rotate", "", rotate) : null,
    hasEnded ? null : button("Limit", "", limit),
    hasEnded ? null : button("Expire", "", expire),
    button("Revoke", "danger", revoke),
  );
}

function showKeys() {
  const columns = [
    { title: "Name", kind: "wide-text" },
    { title: "Begins with", kind: "name" },
    { title: "State", kind: "text" },
    { title: "Scopes", kind: "text" },
    { title: "Limits", kind: "text" },
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
    limitsText(key.limits),
    moment(key.created_at),
    moment(key.last_used_at, "never"),
    key.revoked_at === null ? moment(key.expires_at, "never") : moment(key.revoked_at),
    actions(key),
  ]);
  const place = byId("keys");
  const before = place.contains(document.activeElement) ? document.activeElement.dataset : {};
  place.replaceChildren(
    listed.length ? table("Keys", columns, rows) : nothing("It has no key yet."),
  );
  // Who came by keyboard goes on where the button was, if it still is.
  if (before.key) {
    const same = ({ dataset }) => dataset.key === before.key && dataset.work === before.work;
    ([...place.querySelectorAll("button")].find(same) ?? byId("chosen-title")).focus();
  }
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
    title: `Rotate ${nameOf(key)}?`,
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

async function expire(key) {
  const answer = await askEnd(key, nameOf(key));
  if (answer === null) return;
  const body = { key_id: key.id, expires_at: answer.expiresAt, reason: answer.reason };
  await change(byId("said"), "keys/expire", body, async () => {
    await changed();
    say(byId("said"), `${nameOf(key)} ends ${moment(answer.expiresAt)}.`, "good");
  });
}

async function limit(key) {
  const answer = await askLimits(key, nameOf(key));
  if (answer === null) return;
  const body = { key_id: key.id, limits: answer.limits, reason: answer.reason };
  await change(byId("said"), "keys/limits", body, async () => {
    await changed();
    const limits = answer.limits === null ? "no limits of its own" : limitsText(answer.limits);
    say(byId("said"), `${nameOf(key)} has ${limits}. The next request sees it.`, "good");
  });
}

async function revoke(key) {
  const answer = await confirmed({
    title: `Revoke ${nameOf(key)}?`,
    text: `The key ${key.shown}… ends now, for good. Whoever uses it is refused from the next request on.`,
    yes: "Revoke for good",
    isDanger: true,
  });
  if (answer === null) return;
  await change(byId("said"), "keys/revoke", { key_id: key.id, reason: answer.reason }, async () => {
    await changed();
    say(byId("said"), `${nameOf(key)} is revoked.`, "good");
    byId("chosen-title").focus();
  });
}

export function initKeys(whenChanged, failed) {
  changed = whenChanged;
  byId("more-keys").addEventListener("click", () =>
    take({ limit: 50, after }, chosen().id, listed).catch(failed),
  );
  byId("new-key")?.addEventListener("submit", create);
  initOneKey();
}
