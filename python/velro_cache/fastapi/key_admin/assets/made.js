// A key that was just made. It is in this field, once, and nowhere else in the page.

import { byId, say } from "./dom.js";

export function showMade(plainKey, warning) {
  byId("made-key").value = plainKey;
  byId("made-more").textContent = warning;
  byId("made-more").hidden = !warning;
  say(byId("copied"), "");
  byId("made").hidden = false;
  byId("made").focus();
}

export function forgetMade() {
  byId("made-key").value = "";
  byId("made").hidden = true;
  say(byId("copied"), "");
}

async function copy() {
  const field = byId("made-key");
  try {
    await navigator.clipboard.writeText(field.value);
    say(byId("copied"), "Copied. Store it where secrets belong.", "good");
  } catch {
    // Browsers give the clipboard to pages over HTTPS alone, or ask first.
    field.select();
    say(byId("copied"), "The browser does not let this page copy. The key is selected: copy it by hand.", "warning");
  }
}

export function initMade() {
  byId("copy").addEventListener("click", copy);
  byId("made-done").addEventListener("click", () => {
    forgetMade();
    byId("chosen-title").focus();
  });
  // Nor does it come back with the back button.
  addEventListener("pagehide", forgetMade);
}
