// Puts the page together: asks, remembers by worker, shows.

import { NotThere, Refused, Unreachable, ask } from "./api.js";
import { showAdvice } from "./advice.js";
import { makeCharts } from "./charts.js";
import { byId, element } from "./dom.js";
import * as format from "./format.js";
import { initInvalidate } from "./invalidate.js";
import { explain, initKeys } from "./keys.js";
import { noticesOf, showNotices } from "./notices.js";
import { Poller } from "./poller.js";
import { currentToken, signIn, signOut } from "./session.js";
import { showSharing } from "./sharing.js";
import { showHot, showKinds, showLives, showMisses, showRecent } from "./tables.js";
import { showTiles } from "./tiles.js";
import { showWarming } from "./warming.js";
import { Workers, joined } from "./workers.js";

const WHOLE_HISTORY_SECONDS = 900;
// A second may get another number when the clock is set, so all of it is asked for now and then.
const WHOLE_HISTORY_EVERY_MS = 60_000;
// What changes slowly, or costs more than counting.
const SLOW_EVERY_MS = 5_000;
const ADVICE_EVERY_MS = 30_000;
const SILENT_MS = 120_000;

const workers = new Workers();
const missing = new Set();
const showCharts = makeCharts();
const poller = new Poller(look);
let trouble = null;
let seenAt = null;
let slowAt = -Infinity;
let adviceAt = -Infinity;

async function look() {
  try {
    const stats = await ask("stats");
    const now = Date.now();
    const worker = workers.noteStats(stats, now);
    await lookBack(worker, now);
    if (performance.now() - slowAt >= SLOW_EVERY_MS) {
      slowAt = performance.now();
      await lookAround();
    }
    workers.forgetSilent(now, SILENT_MS);
    seenAt = now;
    trouble = null;
    setLive("live", "live");
    show();
    return true;
  } catch (error) {
    failed(error);
    return false;
  }
}

async function lookBack(worker, now) {
  const isDue = !worker.points || now - worker.wholeAt >= WHOLE_HISTORY_EVERY_MS;
  const since = isDue ? WHOLE_HISTORY_SECONDS : Math.ceil((now - worker.pointsAt) / 1000) + 3;
  const seconds = Math.min(WHOLE_HISTORY_SECONDS, since);
  const answer = await ask("history", { seconds });
  const answered = workers.of(answer.process_id);
  const isWhole = seconds === WHOLE_HISTORY_SECONDS;
  // Another worker may have answered than the one that was asked before.
  if (!isWhole && answered !== worker) return;
  answered.points = isWhole ? answer.points : joined(answered.points, answer.points);
  answered.pointsAt = now;
  if (isWhole) answered.wholeAt = now;
}

async function lookAround() {
  const hash_ids = byId("hide-ids").checked;
  const put = (name) => (answer) => {
    workers.of(answer.process_id)[name] = answer;
  };
  await optional("targets", {}, put("targets"));
  await optional("top", { limit: 12, hash_ids }, put("top"));
  await optional("invalidations", { limit: 20, hash_ids }, (answer) => {
    workers.of(answer.process_id).invalidations = answer.invalidations;
  });
  await optional("warming", {}, put("warming"));
  if (performance.now() - adviceAt >= ADVICE_EVERY_MS) {
    adviceAt = performance.now();
    await optional("recommendations", {}, put("advice"));
  }
}

// Not every service has all routes.
async function optional(path, query, use) {
  if (missing.has(path)) return;
  try {
    use(await ask(path, query));
  } catch (error) {
    if (!(error instanceof NotThere)) throw error;
    missing.add(path);
  }
}

function show() {
  const worker = workers.shown;
  showNotices(noticesOf(worker?.stats ? worker : null, trouble));
  if (!worker?.stats) return;
  byId("sign-in").hidden = true;
  byId("content").hidden = false;
  byId("forget").hidden = currentToken() === null;
  showWho(worker);
  showTiles(worker);
  showCharts(worker);
  showMisses(worker);
  showKinds(worker);
  showLives(worker);
  showSharing(worker);
  if (worker.top) showHot(worker, explain);
  if (worker.invalidations) showRecent(worker);
  showWarming(worker.warming);
  showAdvice(worker.advice);
}

function showWho(worker) {
  const { cache, host } = worker.stats;
  document.title = `${cache} · cache`;
  byId("cache-name").textContent = cache;
  byId("host").textContent = host;
  const all = workers.all;
  byId("worker").hidden = all.length > 1;
  byId("worker").textContent = worker.processId;
  byId("workers").hidden = all.length < 2;
  const choice = byId("worker-choice");
  if (document.activeElement === choice) return;
  choice.replaceChildren(
    ...all.map((id) => element("option", { value: id, selected: id === worker.processId }, id)),
  );
}

function failed(error) {
  if (error instanceof Refused) {
    // Nothing that was seen stays on the screen of whoever may not see it any more.
    setLive("lost", "signed out");
    byId("sign-in-why").textContent = error.message;
    byId("content").hidden = true;
    byId("sign-in").hidden = false;
    if (!byId("sign-in").contains(document.activeElement)) byId("token").focus();
    trouble = null;
    poller.isPaused = true;
    showNotices([]);
    return;
  }
  setLive("lost", "no connection");
  const seen = seenAt === null ? "" : ` Last seen at ${format.clock(seenAt)}; what is shown is from then.`;
  const text = error instanceof Unreachable || error instanceof NotThere ? "The service cannot be reached." : error.message;
  trouble = ["critical", `${text}${seen} It is being tried again.`];
  show();
}

function setLive(state, text) {
  byId("live").dataset.state = state;
  byId("live").textContent = text;
}

function again() {
  slowAt = -Infinity;
  byId("pause").setAttribute("aria-pressed", "false");
  poller.isPaused = false;
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(byId("token").value.trim(), byId("keep-token").checked);
  byId("token").value = "";
  again();
});
byId("ask-again").addEventListener("click", () => {
  signOut();
  again();
});
byId("forget").addEventListener("click", () => {
  signOut();
  again();
});
byId("pause").addEventListener("click", () => {
  const isPaused = !poller.isPaused;
  byId("pause").setAttribute("aria-pressed", `${isPaused}`);
  if (isPaused) setLive("waiting", "paused");
  poller.isPaused = isPaused;
});
byId("hide-ids").addEventListener("change", again);
byId("worker-choice").addEventListener("change", (event) => {
  workers.choose(Number(event.target.value));
  show();
});

initKeys();
initInvalidate(
  () => workers.shown?.stats?.cache ?? "",
  () => {
    slowAt = -Infinity;
    poller.now();
  },
);
poller.now();
