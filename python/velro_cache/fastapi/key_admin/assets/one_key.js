// When one key ends, and how many requests it may make: asked for in a dialog that stays until what
// was typed can be used. What cannot is sent to nobody.

import { meant } from "./asking.js";
import { byId } from "./dom.js";
import { hideOrShow, limitsOf, showLimits, wrongLimits } from "./limits.js";
import { asField, fromField, zone } from "./moments.js";

// Resolves to null if it was not meant.
export async function askEnd(key, name) {
  byId("ending-title").textContent = `When does ${name} end?`;
  byId("ending-text").textContent =
    `The key ${key.shown}… is good until then, unless it is revoked. One that has ended stays so.`;
  byId("end-zone").textContent = zone();
  byId("end-at").value = key.expires_at === null ? "" : asField(key.expires_at);
  byId("end-reason").value = "";
  const isMeant = await answered(byId("ending"), byId("end-at"), byId("end-wrong"), wrongEnd);
  return isMeant ? { expiresAt: fromField(byId("end-at").value), reason: byId("end-reason").value } : null;
}

function wrongEnd() {
  const field = byId("end-at");
  const moment = fromField(field.value);
  const wrong = (text) => ({ field, text });
  if (field.value.indexOf("-") > 4) return wrong("The year has four digits.");
  if (!Number.isFinite(moment)) return wrong("Say on which day it ends, and at what time.");
  if (moment <= Date.now() / 1000) return wrong("That is past. To end the key now, revoke it.");
  return null;
}

// Resolves to null if it was not meant.
export async function askLimits(key, name) {
  byId("limiting-title").textContent = `Limits of ${name}`;
  showLimits("key-", key.limits);
  byId("key-limits-reason").value = "";
  const isMeant = await answered(byId("limiting"), byId("key-has-limits"), byId("limits-wrong"), () =>
    wrongLimits("key-"),
  );
  return isMeant ? { limits: limitsOf("key-"), reason: byId("key-limits-reason").value } : null;
}

// Whether it was meant; `wrong` says what cannot be used, and in which field.
async function answered(dialog, first, place, wrong) {
  const form = dialog.querySelector("form");
  const complain = (found) => {
    for (const field of form.querySelectorAll("[aria-invalid]")) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    }
    place.textContent = found?.text ?? "";
    place.hidden = !found;
    found?.field.setAttribute("aria-invalid", "true");
    found?.field.setAttribute("aria-describedby", place.id);
    found?.field.focus();
    return found !== null;
  };
  const submitted = (event) => {
    if (event.submitter?.value === "yes" && complain(wrong())) event.preventDefault();
  };
  complain(null);
  form.addEventListener("submit", submitted);
  const isMeant = await meant(dialog, first);
  form.removeEventListener("submit", submitted);
  return isMeant;
}

export function initOneKey() {
  byId("key-has-limits")?.addEventListener("change", () => hideOrShow("key-"));
}
