// How keys in memory are doing, and what was changed lately.

import { ask } from "./api.js";
import { byId, element, nothing, table } from "./dom.js";
import * as format from "./format.js";

const ACTIONS = {
  create_organization: "organization made",
  set_plan: "plan changed",
  set_organization_limits: "limits of the organization changed",
  set_organization_active: "organization switched on or off",
  create_key: "key made",
  rotate_key: "key rotated",
  revoke_key: "key revoked",
  expire_key: "end of a key changed",
  set_key_limits: "limits of a key changed",
  set_key_active: "key switched on or off",
  refresh: "keys refreshed",
};
const OUTCOMES = {
  done: "done",
  not_acknowledged: "done; other hosts may not know yet",
  not_shared: "done; other workers may not know",
  refused: "refused: nothing was changed",
  failed: "failed: look whether it was made",
};

function tile(label, value, detail) {
  return element(
    "li",
    { class: "tile" },
    element("span", { class: "label" }, label),
    element("span", { class: "value number" }, value),
    element("span", { class: "detail" }, detail),
  );
}

export async function loadStats() {
  const stats = await ask("stats");
  const { keys, refresh } = stats;
  byId("cache-name").textContent = stats.cache;
  byId("worker").textContent = stats.process_id;
  const tiles = [
    tile("Answered from memory", format.short(keys.hits), "checks since this worker began"),
    tile("Asked the database", format.short(keys.loads), `${format.count(keys.misses_refused)} refused by the budget`),
    tile("Refused from memory", format.short(keys.refused_from_memory + keys.malformed), `${format.count(keys.malformed)} of them no keys at all`),
    tile("Could not be told", format.short(keys.unavailable), `${format.count(keys.stale_served)} answered by old snapshots`),
  ];
  if (refresh) {
    const { last } = refresh;
    tiles.push(
      tile("Live keys", format.short(last?.total ?? null), last ? `read in ${format.duration(last.seconds)}` : "not read yet"),
      tile("Refreshes", format.count(refresh.refreshes), `${format.count(refresh.failures)} failed`),
    );
  }
  byId("tiles").replaceChildren(...tiles);
}

export async function loadChanges() {
  const { changes } = await ask("changes", { limit: 20 });
  const columns = [
    { title: "When", kind: "nowrap" },
    { title: "What", kind: "text" },
    { title: "Organization, key", kind: "name" },
    { title: "Who", kind: "text" },
    { title: "Why", kind: "text" },
    { title: "Came of it", kind: "text" },
  ];
  const rows = changes.map((one) => [
    element("time", { datetime: one.at }, format.clock(new Date(one.at))),
    ACTIONS[one.action] ?? one.action,
    element("code", {}, [one.organization_id, one.key_id].filter(Boolean).join(", ") || "–"),
    one.actor,
    one.reason || "–",
    element("span", { class: one.outcome === "done" ? "" : "alarming" }, OUTCOMES[one.outcome] ?? one.outcome),
  ]);
  byId("changes").replaceChildren(
    changes.length ? table("Recent changes", columns, rows) : nothing("Nothing was changed in this worker yet."),
  );
}
