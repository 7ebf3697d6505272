// Puts the page together: asks when it is opened, when told to, and after each change.

import { Refused, Unreachable } from "./api.js";
import { change } from "./doing.js";
import { byId, element, say } from "./dom.js";
import * as format from "./format.js";
import { forgetKeys, initKeys, loadKeys } from "./key_list.js";
import { initMade } from "./made.js";
import { choice, chosen, initOrganizations, loadOrganizations } from "./organizations.js";
import { loadChanges, loadStats } from "./overview.js";
import { currentToken, signIn, signOut } from "./session.js";
import { initUsage, loadUsage } from "./usage.js";

async function load() {
  setLive("waiting", "asking");
  try {
    await loadStats();
    await loadOrganizations();
    await loadKeys();
    await loadChanges();
    await loadUsage();
    seen();
  } catch (error) {
    failed(error);
  }
}

async function choose(id) {
  forgetKeys();
  choice(id);
  byId("chosen-title").focus();
  try {
    await loadKeys();
    await loadChanges();
    await loadUsage();
    seen();
  } catch (error) {
    failed(error);
  }
}

function seen() {
  say(byId("notices"), "");
  byId("sign-in").hidden = true;
  byId("content").hidden = false;
  byId("forget").hidden = currentToken() === null;
  setLive("live", `as of ${format.clock(Date.now())}`);
}

function failed(error) {
  if (error instanceof Refused) {
    // Nothing that was seen stays on the screen of whoever may not see it any more.
    forgetKeys();
    setLive("lost", "signed out");
    byId("sign-in-why").textContent = error.message;
    byId("content").hidden = true;
    byId("sign-in").hidden = false;
    byId("forget").hidden = true;
    say(byId("notices"), "");
    byId("token").focus();
    return;
  }
  setLive("lost", "no answer");
  const text = error instanceof Unreachable ? "The service cannot be reached." : error.message;
  note("critical", `${text} What is shown is from before: reload to try again.`);
}

function note(level, text) {
  say(byId("notices"), "");
  byId("notices").replaceChildren(element("p", { class: `notice ${level}` }, text));
}

function setLive(state, text) {
  byId("live").dataset.state = state;
  byId("live").textContent = text;
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(byId("token").value.trim(), byId("keep-token").checked);
  byId("token").value = "";
  load();
});
byId("ask-again").addEventListener("click", () => {
  signOut();
  load();
});
byId("forget").addEventListener("click", () => {
  signOut();
  forgetKeys();
  if (chosen() !== null) choice(null);
  load();
});
byId("reload").addEventListener("click", load);
byId("refresh")?.addEventListener("click", () => {
  const place = byId("notices");
  change(place, "refresh", {}, async (report) => {
    await load();
    note("info", `${format.count(report.total)} live keys read: ${format.count(report.updated)} new or changed, ${format.count(report.removed)} gone.`);
  });
});

initMade();
initUsage(failed);
initOrganizations(choose, load, failed);
initKeys(load, failed);
load();
