// What an operator must not overlook, above everything else.

import { byId, element } from "./dom.js";
import * as format from "./format.js";

let shown = "";

export function noticesOf(worker, trouble) {
  const notices = [];
  if (trouble) notices.push(trouble);
  if (!worker) return notices;
  const { is_stopped: isStopped, sharing, log, total_requests: lookups } = worker.stats;
  if (isStopped) {
    notices.push(["critical", "This cache is stopped: it is empty, and every lookup is a miss."]);
  }
  if (sharing.state === "lost") {
    notices.push(["critical", "The table of this host is lost: nothing is served from memory. Make room where it lies, or correct the rights of its folder."]);
  }
  if (log && !log.has_lease) {
    notices.push(["critical", "The lease is lost: there is no news from the log. What allows something is loaded each time."]);
  }
  if (log?.unpublished_invalidations) {
    notices.push(["warning", `${format.count(log.unpublished_invalidations)} invalidations are not in the log yet: other hosts do not know of them.`]);
  }
  if (sharing.state === "private") {
    notices.push(["warning", "Invalidations reach this worker alone. That is right only if there is one."]);
  }
  if (!isStopped && lookups === 0) {
    notices.push(["info", "No lookup was made in this worker yet. Figures appear with the first ones."]);
  }
  return notices;
}

// Read out by screen readers, so it changes only when there is something new.
export function showNotices(notices) {
  const wanted = JSON.stringify(notices);
  if (wanted === shown) return;
  shown = wanted;
  byId("notices").replaceChildren(
    ...notices.map(([level, text]) => element("p", { class: `notice ${level}` }, text)),
  );
}
