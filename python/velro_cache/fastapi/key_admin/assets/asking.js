// Asks before something that cannot be undone.

import { byId } from "./dom.js";

// Shows a dialog; resolves to whether it was left by its yes.
export function meant(dialog, first) {
  // As it is left by Escape.
  dialog.returnValue = "no";
  dialog.showModal();
  first.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Resolves to null if it was not meant.
export async function confirmed({ title, text, yes, isDanger = false, hasOverlap = false }) {
  byId("asking-title").textContent = title;
  byId("asking-text").textContent = text;
  byId("asking-yes").textContent = yes;
  byId("asking-yes").className = isDanger ? "danger" : "primary";
  byId("overlapping").hidden = !hasOverlap;
  byId("asking-reason").value = "";
  if (!(await meant(byId("asking"), byId("asking-reason")))) return null;
  return { reason: byId("asking-reason").value, overlapSeconds: Number(byId("overlap").value) };
}
