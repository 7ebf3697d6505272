// Whether this host hears of revocations: the table of the host, and the log between hosts.

import { byId, element, show } from "./dom.js";
import * as format from "./format.js";

const TABLES = {
  shared: ["good", "shared by all workers of this host"],
  private: ["warning", "of this worker alone"],
  lost: ["critical", "lost: nothing is served from memory"],
};

export function showSharing(worker) {
  const { sharing, log, l2, fail_closed_lookups: refused, host } = worker.stats;
  const [level, text] = TABLES[sharing.state];
  const rows = [["Host", host], ["Table", verdict(level, text)]];
  if (sharing.not_shared_because) rows.push(["Because", sharing.not_shared_because]);
  if (log === null) {
    rows.push(["Log", "none: there is one host, or each is alone"]);
  } else {
    rows.push(
      ["Lease", log.has_lease ? verdict("good", "held") : verdict("critical", "lost")],
      ["Last news", log.lease_age_ms === null ? "never" : `${format.duration(log.lease_age_ms / 1000)} ago`],
      ["Behind by", `${format.count(log.lag_entries)} entries`],
      ["Not sent yet", `${format.count(log.unpublished_invalidations)} invalidations`],
      ["Sent, heard", `${format.short(log.published_invalidations)}, ${format.short(log.applied_entries)}`],
      ["Gaps, new starts", `${format.count(log.gaps)}, ${format.count(log.floors)}`],
      ["Errors", log.has_error ? verdict("warning", `${format.count(log.errors)}, the last try too`) : format.count(log.errors)],
    );
    if (log.garbage_entries) {
      rows.push(["Not understood", verdict("critical", `${format.count(log.garbage_entries)} entries`)]);
    }
    rows.push(["Not served for want of news", format.short(refused)]);
  }
  if (l2.enabled) {
    rows.push(["Shared values", `${format.short(l2.hits)} hits, ${format.short(l2.misses)} misses`]);
    rows.push(["Their errors", `${format.count(l2.errors)}, ${format.count(l2.timeouts)} time-outs`]);
  }
  show(
    byId("sharing"),
    element("dl", {}, ...rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)])),
  );
}

function verdict(level, text) {
  return element("span", { class: `verdict ${level}` }, text);
}
