// What is loaded before it is asked for, where the service tells of it.

import { byId, element, show, table } from "./dom.js";
import * as format from "./format.js";

export function showWarming(warming) {
  byId("warming").hidden = !warming;
  if (!warming) return;
  const { prediction, kinds } = warming;
  const parts = [
    element(
      "dl",
      {},
      element("dt", {}, "Prediction"),
      element("dd", {}, state(prediction)),
      ...(prediction.enabled
        ? [
            element("dt", {}, "Precision"),
            element("dd", {}, precision(prediction)),
            element("dt", {}, "Loaded ahead, used"),
            element("dd", {}, `${format.short(prediction.preloaded)}, ${format.short(prediction.used)}`),
          ]
        : []),
    ),
  ];
  if (kinds.length) {
    parts.push(
      table(
        "Warm-ups by kind",
        [
          { title: "Kind", kind: "name" },
          { title: "State", kind: "text" },
          { title: "Loaded", kind: "number" },
          { title: "Failed", kind: "number" },
          { title: "Took", kind: "number" },
        ],
        kinds.map((one) => [
          element("code", {}, one.kind),
          one.is_running ? "under way" : "done",
          one.total === null
            ? format.count(one.loaded)
            : `${format.count(one.loaded)} of ${format.count(one.total)}`,
          format.count(one.failed),
          format.duration(one.seconds),
        ]),
      ),
    );
  }
  show(byId("warming-figures"), ...parts);
}

function state({ enabled, switched_off: isOff }) {
  if (!enabled) return "off";
  const [level, text] = isOff ? ["warning", "pauses: it did not pay"] : ["good", "on"];
  return element("span", { class: `verdict ${level}` }, text);
}

function precision({ precision: part }) {
  return part === null
    ? "not known yet"
    : `${format.percent(100 * part)} of what was loaded ahead was asked for`;
}
