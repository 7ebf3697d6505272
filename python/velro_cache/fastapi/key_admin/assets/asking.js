// Asks before something that cannot be undone.

import { byId } from "./dom.js";

// Resolves to null if it was not meant.
export function confirmed({ title, text, yes, isDanger = false, hasOverlap = false }) {
  const dialog = byId("asking");
  byId("asking-title").textContent = title;
  byId("asking-text").textContent = text;
  byId("asking-yes").textContent = yes;
  byId("asking-yes").className = isDanger ? "danger" : "primary";
  byId("overlapping").hidden = !hasOverlap;
  byId("asking-reason").value = "";
  // As it is left by Escape.
  dialog.returnValue = "no";
  dialog.showModal();
  byId("asking-reason").focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue !== "yes") return resolve(null);
        return resolve({
          reason: byId("asking-reason").value,
          overlapSeconds: Number(byId("overlap").value),
        });
      },
      { once: true },
    );
  });
}
