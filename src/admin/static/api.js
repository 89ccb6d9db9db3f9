// What the page asks the server: the same JSON that clients get.

import { learnTime } from "./dom.js";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

const rights = new Set(meta("rights").split(" "));

/** Whether the token that is signed in has this right. */
export const may = (verb) => rights.has(verb);

/** A request that was refused, in words. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** What the server says to a request; null if that is nothing. */
export async function ask(method, path, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = meta("csrf-token");
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin", redirect: "error", cache: "no-store",
    });
  } catch {
    throw new Refused(0, "The server does not answer.");
  }
  learnTime(answer.headers.get("Date"));
  if (answer.status === 401) {
    signIn();
    throw new Refused(401, "You are signed out.");
  }
  const isJson = answer.headers.get("Content-Type")?.startsWith("application/json");
  const said = isJson ? await answer.json() : null;
  if (!answer.ok) throw new Refused(answer.status, inWords(said) || `The server answers ${answer.status}.`);
  return said;
}

/** To the form, and from there back. */
export function signIn() {
  location.assign(`/admin/login/?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** What an error's body says, whatever its form. */
function inWords(said) {
  if (said === null || typeof said !== "object") return said === null ? "" : String(said);
  if (typeof said.detail === "string") return said.detail;
  if (typeof said.Error === "string") return said.Error;
  return Object.entries(said).map(([field, problems]) => {
    const words = Array.isArray(problems) ? problems.join(" ") : inWords(problems);
    return field === "non_field_errors" || /^\d+$/.test(field) ? words : `${field}: ${words}`;
  }).join(" ");
}
