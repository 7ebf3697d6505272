// What of all figures is best read as a table.

import { bar, byId, element, nothing, show, table } from "./dom.js";
import * as format from "./format.js";
import { missReasons } from "./figures.js";

const REASONS = {
  cold: "cold: not here before",
  expired: "expired",
  evicted: "evicted: room was needed",
  invalidated: "invalidated",
  stale: "stale: revoked while it was loaded",
  too_large: "too large to keep",
  lease: "lease: no news from the log",
};

const NAME = { kind: "name" };
const NUMBER = { kind: "number" };
const code = (text) => element("code", {}, text);

export function showMisses(worker) {
  const reasons = missReasons(worker).filter(({ misses }) => misses > 0);
  const minute = worker.looks.length > 1 ? worker.looks.at(-1).at - worker.looks[0].at : 0;
  show(
    byId("misses"),
    reasons.length
      ? table(
          "Misses by reason",
          [
            { title: "Reason", ...NAME },
            { title: "Share", kind: "wide" },
            { title: minute ? `Last ${format.duration(minute / 1000)}` : "Lately", ...NUMBER },
            { title: "In all", ...NUMBER },
          ],
          reasons.map(({ reason, misses, lately, share }) => [
            REASONS[reason] ?? reason,
            bar(share, `${reason}: ${format.percent(100 * share)} of all misses`, "miss"),
            format.short(lately),
            format.short(misses),
          ]),
        )
      : nothing("No lookup missed yet."),
  );
}

export function showKinds(worker) {
  const kinds = Object.entries(worker.stats.families).sort((a, b) => b[1].requests - a[1].requests);
  show(
    byId("kinds"),
    kinds.length
      ? table(
          "Lookups by kind of key",
          [
            { title: "Kind", ...NAME },
            { title: "Lookups", ...NUMBER },
            { title: "Hit rate", ...NUMBER },
          ],
          kinds.map(([name, figures]) => [
            code(name),
            format.short(figures.requests),
            format.percent(figures.hit_rate_percent),
          ]),
        )
      : nothing("Nothing was looked up yet."),
  );
}

export function showLives(worker) {
  const lives = worker.stats.lives.filter((life) => life.estimated_hit_rate_percent !== null);
  const longest = worker.stats.lives.at(-2).ttl_at_most_seconds;
  show(
    byId("lives"),
    lives.length
      ? table(
          "Lookups by the life that values were given",
          [
            { title: "Life", ...NAME },
            { title: "Stored", ...NUMBER },
            { title: "Hit rate", ...NUMBER },
          ],
          lives.map((life) => [
            life.ttl_at_most_seconds === null
              ? `over ${format.duration(longest)}`
              : `up to ${format.duration(life.ttl_at_most_seconds)}`,
            format.short(life.sets),
            `≈ ${format.percent(life.estimated_hit_rate_percent)}`,
          ]),
        )
      : "",
  );
}

export function showHot(worker, explain) {
  const { keys, tags } = worker.top;
  const isHidden = (name) => name.includes("#");
  showNames("hot-keys", "Key", keys, ({ key }) =>
    isHidden(key)
      ? code(key)
      : element("button", { type: "button", class: "link", onclick: () => explain(key) }, code(key)),
  );
  showNames("hot-tags", "Tag", tags, ({ tag }) => code(tag));
}

function showNames(place, title, names, asCell) {
  show(
    byId(place),
    names.length
      ? table(
          `Hot ${title.toLowerCase()}s`,
          [{ title, ...NAME }, { title: "Lookups", ...NUMBER }, { title: "Hit rate", ...NUMBER }],
          names.map((name) => [
            asCell(name),
            `≈ ${format.short(name.estimated_requests)}`,
            format.percent((100 * name.estimated_hits) / name.estimated_requests),
          ]),
        )
      : nothing("Too few lookups to tell. One in 128 is looked at."),
  );
}

const ACTIONS = {
  user: "user",
  generation: "generation",
  tags: "tags",
  pattern: "pattern",
  key: "key",
  clear: "everything",
  several: "several",
};
const OUTCOMES = {
  done: "",
  not_acknowledged: "not acknowledged by the log or other hosts",
  not_shared: "only in this worker: take it for not done",
  failed: "failed",
};

export function showRecent(worker) {
  const entries = worker.invalidations;
  show(
    byId("recent"),
    entries.length
      ? table(
          "Recent invalidations",
          [
            { title: "When", kind: "nowrap" },
            { title: "What", ...NAME },
            { title: "Dropped", ...NUMBER },
            { title: "Who", kind: "text" },
            { title: "Why", kind: "text" },
            { title: "How", kind: "text" },
          ],
          entries.map((entry) => [
            element("time", { datetime: entry.at }, format.clock(new Date(entry.at))),
            named(entry),
            format.count(entry.dropped_entries),
            entry.actor || "–",
            entry.reason || "–",
            element(
              "span",
              { class: entry.outcome === "done" ? "" : "alarming" },
              [entry.made === "over_http" ? "over HTTP" : "by code", OUTCOMES[entry.outcome]]
                .filter(Boolean)
                .join("; "),
            ),
          ]),
        )
      : nothing("Nothing was invalidated in this worker yet."),
  );
}

function named(entry) {
  const more = entry.names_count - entry.names.length;
  return element(
    "span",
    {},
    `${ACTIONS[entry.action]} `,
    code(entry.names.join(", ")),
    more > 0 ? ` and ${format.count(more)} more` : "",
  );
}
