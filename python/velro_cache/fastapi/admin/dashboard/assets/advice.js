// What the figures suggest, and what other settings would do, where the service tells of it.

import { byId, element, nothing, show, table } from "./dom.js";
import * as format from "./format.js";

export function showAdvice(advice) {
  byId("advice").hidden = !advice;
  if (!advice) return;
  const found = advice.recommendations;
  show(
    byId("advice-list"),
    ...(found.length
      ? found.map(finding)
      : [element("li", {}, nothing("Nothing: all is as it should be."))]),
  );
  const estimates = advice.what_if?.estimates ?? [];
  show(byId("what-if"), ...(estimates.length ? [whatIf(advice.what_if, estimates)] : []));
}

function finding({ severity, title, detail, action }) {
  return element(
    "li",
    {},
    element("span", { class: `verdict ${severity}` }, severity),
    element(
      "div",
      {},
      element("h3", {}, title),
      element("p", {}, action),
      element("p", { class: "quiet" }, detail),
    ),
  );
}

const CHANGES = { size: "Room", ttl: "Lives" };

function whatIf({ measured_hit_rate: measured }, estimates) {
  return table(
    "Estimated hit rates at other settings",
    [{ title: "What if", kind: "name" }, { title: "Hit rate, estimated", kind: "number" }],
    [
      ["As it is, measured", format.percent(100 * measured)],
      ...estimates.map(({ change, factor, estimated_hit_rate: rate }) => [
        `${CHANGES[change] ?? change} × ${factor}`,
        rate === null ? "not known yet" : format.percent(100 * rate),
      ]),
    ],
  );
}
