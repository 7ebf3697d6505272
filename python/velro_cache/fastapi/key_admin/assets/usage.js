// How many requests there were, as the application counts them.

import { ask } from "./api.js";
import { Chart, fromZero } from "./chart.js";
import { byId } from "./dom.js";
import * as format from "./format.js";
import { day, moment, time } from "./moments.js";
import { chosen } from "./organizations.js";

const DAY_SECONDS = 86_400;
const HOURS = [1, 2, 3, 6, 12].map((hours) => hours * 3600);
const DAYS = [1, 2, 5, 10].map((days) => days * DAY_SECONDS);

let chart = null;
const seconds = () => Number(byId("usage-range").value);

const SPEC = {
  place: "chart-usage",
  columns: (usage) => [usage.timestamps, usage.requests, usage.errors],
  axes: [{ scale: "y", as: format.short }],
  scales: { y: { range: fromZero } },
  incrs: [300, 600, 1800, ...HOURS, ...DAYS],
  moments: (_chart, splits) => splits.map(seconds() > DAY_SECONDS ? day : time),
  moment: (milliseconds) => moment(milliseconds / 1000),
  series: [
    { label: "Requests", color: "--hit", fill: "--hit-fill", width: 1.5, as: format.short },
    { label: "Errors", color: "--bad", width: 2, as: format.short },
  ],
};

export async function loadUsage() {
  if (byId("chart-usage") === null) return; // nobody counts
  const organization = chosen();
  const query = { seconds: seconds() };
  if (organization !== null) query.organization_id = organization.id;
  byId("usage-of").textContent = organization === null ? "of all organizations" : `of ${organization.name || organization.id}`;
  let text = "";
  try {
    const usage = await ask("usage", query);
    if (usage.timestamps.length) {
      chart ??= new Chart(SPEC);
      chart.show(usage);
    } else text = "No requests in this time.";
  } catch (error) {
    if (error.status !== 503) throw error;
    text = error.message;
  }
  byId("usage-none").textContent = text;
  byId("usage-none").hidden = !text;
  const drawn = byId("chart-usage").querySelector(".uplot");
  if (drawn !== null) drawn.hidden = Boolean(text);
}

export function initUsage(failed) {
  byId("usage-range")?.addEventListener("change", () => loadUsage().catch(failed));
}
