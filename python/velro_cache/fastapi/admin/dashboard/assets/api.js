// Asks the admin routes that lie beside this page.

import { currentToken } from "./session.js";

const LONGEST_WAIT_MS = 10_000;
// An invalidation may wait for other hosts.
const LONGEST_WAIT_FOR_CHANGES_MS = 60_000;

export class Refused extends Error {} // 401, 403, or a page to sign in at
export class NotThere extends Error {} // 404: this service has no such route, or nothing of that name
export class Unreachable extends Error {} // no answer

export class Failed extends Error {
  constructor(status, body) {
    super(detailOf(body) || `The service answered with status ${status}`);
    this.status = status;
    this.body = body;
  }
}

// Addresses are relative, so they are right below any prefix and behind any proxy.
export function ask(path, query = {}) {
  const parameters = new URLSearchParams(query).toString();
  return send(parameters ? `${path}?${parameters}` : path, { method: "GET" }, LONGEST_WAIT_MS);
}

export function tell(path, body) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  return send(path, options, LONGEST_WAIT_FOR_CHANGES_MS);
}

async function send(path, options, longestWaitMs) {
  const token = currentToken();
  const headers = { ...options.headers, Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer, body;
  try {
    answer = await fetch(path, {
      ...options,
      headers,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "manual",
      signal: AbortSignal.timeout(longestWaitMs),
    });
    body = await answer.json().catch(() => null);
  } catch {
    throw new Unreachable("The service cannot be reached.");
  }
  if (answer.type === "opaqueredirect") {
    throw new Refused("The service wants you to sign in: open this page anew.");
  }
  if (answer.status === 401 || answer.status === 403) {
    throw new Refused(detailOf(body) || "The service refused.");
  }
  if (answer.status === 404 || answer.status === 405) throw new NotThere(detailOf(body) || path);
  if (answer.status === 502 || answer.status === 504) {
    throw new Unreachable("Something before the service says that it cannot be reached.");
  }
  if (!answer.ok || body === null) throw new Failed(answer.status, body);
  return body;
}

function detailOf(body) {
  const detail = body?.detail ?? body?.title;
  if (!Array.isArray(detail)) return typeof detail === "string" ? detail : "";
  return detail.map((problem) => `${problem.loc?.at(-1)}: ${problem.msg}`).join("; ");
}
