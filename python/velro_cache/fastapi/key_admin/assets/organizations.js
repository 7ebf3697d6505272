// Organizations: which there are, a new one, and what the chosen one has booked.

import { ask } from "./api.js";
import { confirmed } from "./asking.js";
import { change } from "./doing.js";
import { byId, element, nothing, say, table } from "./dom.js";
import { hideOrShow, limitsOf, limitsText, showLimits } from "./limits.js";
import { moment } from "./moments.js";

let listed = [];
let after = null;
let chosenId = null;
let choose = () => {};
let changed = async () => {};

export const chosen = () => listed.find(({ id }) => id === chosenId) ?? null;

export async function loadOrganizations() {
  // As many as were shown before.
  const wanted = Math.min(1000, Math.max(50, listed.length));
  const page = await ask("organizations", { limit: wanted });
  listed = page.organizations;
  after = page.next_after;
  showOrganizations();
}

async function more() {
  const page = await ask("organizations", { limit: 50, after });
  listed = [...listed, ...page.organizations];
  after = page.next_after;
  showOrganizations();
}

export function choice(id) {
  chosenId = id;
  showOrganizations();
  showChosen();
}

const state = (isActive) =>
  element("span", { class: `verdict ${isActive ? "good" : "warning"}` }, isActive ? "on" : "off");

function showOrganizations() {
  const rows = listed.map((one) => [
    element("button", { type: "button", class: "link", onclick: () => choose(one.id) }, one.name || one.id),
    element("code", {}, one.id),
    one.plan || "–",
    limitsText(one.limits),
    state(one.is_active),
    moment(one.created_at),
  ]);
  const columns = [
    { title: "Name", kind: "wide-text" },
    { title: "Id", kind: "name" },
    { title: "Plan", kind: "text" },
    { title: "Requests", kind: "text" },
    { title: "State", kind: "text" },
    { title: "Made", kind: "nowrap" },
  ];
  const place = byId("organizations");
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren(
    listed.length ? table("Organizations", columns, rows) : nothing("There is no organization yet."),
  );
  const at = listed.findIndex(({ id }) => id === chosenId);
  const row = place.querySelectorAll("tbody tr")[at];
  row?.setAttribute("aria-current", "true");
  if (hadFocus) row?.querySelector("button").focus();
  byId("more-organizations").hidden = after === null;
}

function showChosen() {
  const one = chosen();
  byId("chosen").hidden = one === null;
  if (one === null) return;
  byId("chosen-title").textContent = one.name || one.id;
  byId("chosen-id").textContent = one.id;
  if (byId("settings") === null) return; // read only
  byId("plan").value = one.plan;
  showLimits("", one.limits);
  byId("switch").textContent = one.is_active ? "Switch off…" : "Switch on";
}

async function saveSettings(event) {
  event.preventDefault();
  const one = chosen();
  const said = byId("settings-said");
  const about = { organization_id: one.id, reason: byId("settings-reason").value };
  const wanted = { plan: byId("plan").value.trim(), limits: limitsOf("") };
  let hasFailed = false;
  const step = async (path, body) => {
    let isDone = false;
    await change(said, path, { ...about, ...body }, async () => {
      isDone = true;
    });
    hasFailed ||= !isDone;
  };
  if (wanted.plan !== one.plan) await step("organizations/plan", { plan: wanted.plan });
  if (!hasFailed) await step("organizations/limits", { limits: wanted.limits });
  if (hasFailed) return;
  byId("settings-reason").value = "";
  await changed();
  showChosen();
  if (said.dataset.level !== "warning" && said.dataset.level !== "critical") {
    say(said, "Saved. The next request sees it.", "good");
  }
}

async function switchIt() {
  const one = chosen();
  let reason = byId("settings-reason").value;
  if (one.is_active) {
    const answer = await confirmed({
      title: `Switch off ${one.name || one.id}?`,
      text: "None of its keys is good until it is switched on again.",
      yes: "Switch off",
      isDanger: true,
    });
    if (answer === null) return;
    reason = answer.reason;
  }
  const body = { organization_id: one.id, is_active: !one.is_active, reason };
  await change(byId("settings-said"), "organizations/active", body, async () => {
    await changed();
    showChosen();
    say(byId("settings-said"), one.is_active ? "Switched off." : "Switched on.", "good");
  });
}

async function create(event) {
  event.preventDefault();
  const body = {
    name: byId("organization-name").value.trim(),
    plan: byId("organization-plan").value.trim(),
    reason: byId("organization-reason").value,
  };
  const id = byId("organization-id").value.trim();
  if (id) body.organization_id = id;
  await change(byId("organization-said"), "organizations", body, async (made) => {
    byId("new-organization").reset();
    // It may lie behind the pages that are shown.
    listed = [made, ...listed.filter((one) => one.id !== made.id)];
    say(byId("organization-said"), `${made.name || made.id} is there.`, "good");
    await choose(made.id);
  });
}

export function initOrganizations(whenChosen, whenChanged, failed) {
  choose = whenChosen;
  changed = whenChanged;
  byId("more-organizations").addEventListener("click", () => more().catch(failed));
  byId("new-organization")?.addEventListener("submit", create);
  byId("settings")?.addEventListener("submit", saveSettings);
  byId("switch")?.addEventListener("click", switchIt);
  byId("has-limits")?.addEventListener("change", () => hideOrShow(""));
}
