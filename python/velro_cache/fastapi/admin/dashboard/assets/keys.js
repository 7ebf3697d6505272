// Keys by prefix, page by page, and what is known of one.

import { ask } from "./api.js";
import { byId, element, nothing, say } from "./dom.js";
import * as format from "./format.js";

const PAGE = 12;

const WHY_NOT = {
  cold: "is not here, and was not lately",
  expired: "its life is over",
  evicted: "had to go for want of room",
  invalidated: "was invalidated",
  stale: "was revoked while it was loaded",
  too_large: "is too large to keep",
  lease: "is here, and there is no news from the log",
};

export function initKeys() {
  byId("find").addEventListener("submit", (event) => {
    event.preventDefault();
    find(byId("prefix").value, "");
  });
}

async function find(prefix, after) {
  try {
    const page = await ask("keys", { prefix, after, limit: PAGE });
    const more = page.next_after === null ? "" : ", and more";
    const partly = page.is_complete ? "" : " Not all could be looked at: give a longer prefix.";
    say(
      byId("found"),
      page.keys.length
        ? `${format.count(page.keys.length)} keys${more}, in worker ${page.process_id}.${partly}`
        : "No key of this worker begins like that.",
    );
    byId("found-list").replaceChildren(
      element(
        "ul",
        { class: "keys" },
        ...page.keys.map((key) =>
          element(
            "li",
            {},
            element("button", { type: "button", class: "link", onclick: () => explain(key) }, element("code", {}, key)),
          ),
        ),
      ),
      ...(page.next_after === null
        ? []
        : [element("button", { type: "button", onclick: () => find(prefix, page.next_after) }, "Next keys")]),
    );
  } catch (error) {
    say(byId("found"), error.message, "critical");
    byId("found-list").replaceChildren();
  }
}

export async function explain(key) {
  const place = byId("explained");
  try {
    const known = await ask("keys/explain", { key });
    const verdict = known.valid
      ? element("span", { class: "verdict good" }, "answers lookups")
      : element("span", { class: "verdict warning" }, `does not: ${WHY_NOT[known.why_not] ?? known.why_not}`);
    const rows = [["Now", verdict]];
    if (known.held) {
      rows.push(
        ["Here for", format.duration(known.age_seconds)],
        ["Life left", format.duration(known.seconds_left)],
        ["Tags", format.count(known.tags)],
        ["Size", format.bytes(known.bytes)],
        ["Priority", format.count(known.priority)],
        ["Allows something", known.permissive ? "yes, or it may" : "no"],
      );
    }
    rows.push(["Worker", `${known.process_id}`]);
    place.replaceChildren(
      element("h3", {}, element("code", {}, key)),
      element("dl", {}, ...rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)])),
    );
    place.scrollIntoView({ block: "nearest" });
  } catch (error) {
    place.replaceChildren(nothing(error.message));
  }
}
