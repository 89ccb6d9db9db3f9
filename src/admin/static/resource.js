// One resource: how it is, who waits, what happened, and the way to break its
// lock.

import { ask, may } from "./api.js";
import { byId, cell, countdown, el, exact, nothing, pathOf, say, serverNow, setText, since, span } from "./dom.js";
import { attempt, atMostEachSecond } from "./page.js";
import { follow } from "./stream.js";

/** Waiters, and events of a page of the history, that are shown. */
const WAITERS_SHOWN = 100;
const EVENTS_SHOWN = 25;

const WORDS = {
  acquired: "Acquired", renewed: "Renewed", released: "Released", expired: "Expired", broken: "Broken",
  deadlock: "Deadlock refused",
};

const name = byId("main").dataset.name;

async function lookAtState() {
  let resource = null;
  try {
    resource = await ask("GET", pathOf(name));
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  const facts = byId("facts");
  const isHeld = resource?.locked === true;
  setText(byId("state"), isHeld ? "Held" : "Free");
  byId("state").className = `state ${isHeld ? "held" : "free"}`;
  byId("break").hidden = !isHeld || !may("break");
  const rows = [];
  if (resource === null) rows.push(["State", "It was never acquired, or long ago."]);
  else if (isHeld) {
    const ends = resource.expires_at ? countdown(Date.now() + resource.expires_in * 1000, resource.expires_at) : "never";
    rows.push(
      ["Owner", resource.owner ?? nothing("–")], ["Label", resource.label ?? nothing("–")], ["Held since", since(resource.acquired_at)],
      ["Expires in", ends], ["Time to live", resource.ttl === null ? "until it is released" : span(resource.ttl)],
    );
  }
  if (resource !== null) rows.push(["Fencing token", String(resource.fencing_token)], ["Waiting", String(resource.waiters)]);
  facts.replaceChildren(...rows.map(([word, value]) => el("div", {}, el("dt", {}, word), el("dd", {}, value))));
}

async function lookAtLine() {
  const line = await ask("GET", `${pathOf(name, "waiters/")}?page_size=${WAITERS_SHOWN}`);
  byId("waiters").replaceChildren(...line.results.map((waiter) => el("tr", { role: "row" },
    cell("Position", String(waiter.position), "number"),
    cell("Owner", waiter.owner ?? nothing("–")),
    cell("Label", waiter.label ?? nothing(waiter.since ? "–" : "waits at another server"), "text"),
    cell("Waits since", since(waiter.since)),
    cell("Gives up in", countdown(Date.now() + Date.parse(waiter.until) - serverNow(), waiter.until)),
  )));
  byId("line").hidden = line.count === 0;
  byId("nobody").hidden = line.count > 0;
  const rest = line.count > WAITERS_SHOWN ? `the first ${WAITERS_SHOWN} of ${line.count.toLocaleString()}` : line.count || "";
  setText(byId("line-count"), String(rest));
}

/** Ids of the events that are shown. */
const shown = new Set();
let older = null;

async function lookAtHistory() {
  let page;
  try {
    page = await ask("GET", `${pathOf(name, "history/")}?page_size=${EVENTS_SHOWN}`);
  } catch (error) {
    if (error.status !== 404) throw error;
    page = { results: [], next: null };
  }
  if (shown.size === 0) setOlder(page.next);
  addEvents(page.results);
}

function setOlder(next) {
  older = next === null ? null : next.replace(/^[a-z]+:\/\/[^/]+/, "");
  byId("older").hidden = older === null;
}

/** Puts events where they belong: the latest first. */
function addEvents(events) {
  const list = byId("history");
  for (const event of events) {
    if (shown.has(event.id)) continue;
    shown.add(event.id);
    const item = itemOf(event);
    const before = [...list.children].find((other) => other.eventId < event.id);
    list.insertBefore(item, before ?? null);
  }
  byId("unwritten").hidden = shown.size > 0;
}

function itemOf(event) {
  const by = event.asked_by ?? event.owner;
  const facts = [
    by ? ["by", by] : null, event.label ? ["label", event.label] : null, event.reason ? ["reason", event.reason] : null,
    event.ttl !== null && event.ttl !== undefined && event.event !== "released" ? ["for", span(event.ttl)] : null,
    event.address ? ["from", event.address] : null, ["token", String(event.fencing_token)],
  ].filter(Boolean);
  const item = el("li", { class: event.event in WORDS ? event.event : null },
    el("b", {}, WORDS[event.event] ?? event.event), " ",
    el("time", { datetime: event.at, title: event.at }, exact(event.at)),
    el("span", { class: "event-facts" }, ...facts.flatMap(([word, value]) => [
      el("span", {}, `${word} `, el("span", { class: "value" }, value)), " ",
    ])),
  );
  item.eventId = event.id;
  return item;
}

const look = async () => {
  await attempt(async () => {
    await Promise.all([lookAtState(), lookAtLine(), lookAtHistory()]);
  });
};
const lookSoon = atMostEachSecond(look);

byId("older").addEventListener("click", () => attempt(async () => {
  const page = await ask("GET", older);
  setOlder(page.next);
  addEvents(page.results);
}));

// Breaking is asked for twice: first why, then the name once more.

const dialog = byId("break-dialog");
const [reason, confirm] = [byId("reason"), byId("confirm")];

function showStep(isSecond) {
  byId("break-first").hidden = isSecond;
  byId("break-second").hidden = !isSecond;
  confirm.disabled = !isSecond;
  confirm.value = "";
  reason.required = !isSecond;
  setText(byId("break-go"), isSecond ? "Break the lock" : "Continue");
  byId("break-go").disabled = isSecond;
  say("break-problem", null);
  (isSecond ? confirm : reason).focus();
}

byId("break").addEventListener("click", () => {
  reason.value = "";
  dialog.showModal();
  showStep(false);
});
byId("break-cancel").addEventListener("click", () => dialog.close());
confirm.addEventListener("input", () => {
  byId("break-go").disabled = confirm.value !== name;
});
byId("break-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (confirm.disabled) {
    if (reason.value.trim()) showStep(true);
    return;
  }
  if (confirm.value !== name) return;
  byId("break-go").disabled = true;
  const broken = await attempt(() => ask("POST", pathOf(name, "break/"), { reason: reason.value }), "break-problem");
  byId("break-go").disabled = false;
  if (!broken) return;
  dialog.close();
  say("done", "The lock is broken.");
  lookSoon();
});

await look();
follow(name, {
  onEvents(events) {
    const own = events.filter((event) => event.resource === name);
    if (own.length === 0) return;
    addEvents(own.filter((event) => event.at));
    lookSoon();
  },
  onMissed: lookSoon,
});
