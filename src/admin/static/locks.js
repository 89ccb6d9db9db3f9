// The table of locks: one page of the list at a time, kept up to date by events.
//
// An event changes the row that it is about at once. Whatever else it may have
// changed (the count, which rows belong on the page, who waits) comes with the
// next look at the list, of which there is one a second at most.

import { ask } from "./api.js";
import { byId, cell, countdown, el, nothing, pageOf, setText, since } from "./dom.js";
import { attempt, atMostEachSecond } from "./page.js";
import { follow } from "./stream.js";

/** Between two looks for how many wait, which no event tells. */
const WAITERS_LOOK_MS = 10_000;

/** Resources of one frame that are put in their place one by one. */
const PLACED_MAX = 20;

const USUAL = { search: "", prefix: "", state: "held", ordering: "name", page: "1", page_size: "50" };
const LOCKED = { held: "true", free: "false" };

const filters = byId("filters");
const body = byId("rows");

/** What is asked for: as the address bar says. */
let wanted = { ...USUAL };
/** The rows that are shown, by name. */
const rows = new Map();
let count = 0;
/** Of several looks on the way the last one counts. */
let latest = 0;

function readAddress() {
  const query = new URLSearchParams(location.search);
  wanted = { ...USUAL };
  for (const name of Object.keys(USUAL)) wanted[name] = query.get(name) ?? USUAL[name];
  for (const name of ["search", "prefix", "state", "ordering", "page_size"]) filters.elements[name].value = wanted[name];
  for (const head of document.querySelectorAll("th[data-order]")) {
    const column = head.dataset.order;
    const direction = { [column]: "ascending", [`-${column}`]: "descending" }[wanted.ordering];
    if (direction) head.setAttribute("aria-sort", direction);
    else head.removeAttribute("aria-sort");
  }
}

/** Asks for something else, which the back button takes back. */
function want(changes) {
  const next = { ...wanted, page: "1", ...changes };
  const query = new URLSearchParams();
  for (const [name, usual] of Object.entries(USUAL)) if (next[name] !== usual) query.set(name, next[name]);
  const search = query.size > 0 ? `?${query}` : "";
  if (search !== location.search) history.pushState(null, "", location.pathname + search);
  show();
}

function show() {
  readAddress();
  stream?.change(wanted.prefix);
  return look();
}

async function look() {
  const number = ++latest;
  const query = new URLSearchParams({ page: wanted.page, page_size: wanted.page_size, ordering: wanted.ordering });
  for (const name of ["search", "prefix"]) if (wanted[name]) query.set(name, wanted[name]);
  if (LOCKED[wanted.state]) query.set("locked", LOCKED[wanted.state]);
  const list = await attempt(async () => {
    try {
      return await ask("GET", `/resources/?${query}`);
    } catch (error) {
      // The list has become shorter than this page.
      if (error.status !== 404 || wanted.page === "1") throw error;
      query.set("page", "last");
      return await ask("GET", `/resources/?${query}`);
    }
  });
  if (!list || number !== latest) return;
  const now = Date.now();
  const names = new Set(list.results.map((resource) => resource.name));
  for (const name of rows.keys()) if (!names.has(name)) drop(name);
  list.results.forEach((resource, at) => {
    const deadline = resource.expires_in === null ? null : now + resource.expires_in * 1000;
    put({ ...resource, deadline }, at);
  });
  count = list.count;
  showPlace(list);
}

function showPlace(list) {
  const page = Number(wanted.page);
  const size = Number(wanted.page_size);
  if (list) {
    byId("previous").disabled = !list.previous;
    byId("next").disabled = !list.next;
  }
  const from = (page - 1) * size + 1;
  const number = (value) => value.toLocaleString();
  const place = rows.size === 0 ? "" : `${number(from)}–${number(from + rows.size - 1)} of ${number(count)}`;
  setText(byId("place"), place);
  byId("empty").hidden = rows.size > 0;
}

/** Shows a resource as the row of this number. */
function put(resource, at) {
  let row = rows.get(resource.name);
  if (!row) {
    row = newRow(resource.name);
    rows.set(resource.name, row);
  }
  row.resource = resource;
  const { cells } = row;
  fill(cells.since, resource.acquired_at, () => since(resource.acquired_at));
  fill(cells.expires, resource.locked ? resource.expires_at ?? "never" : "free", () => {
    if (!resource.locked) return el("span", { class: "state free" }, "Free");
    return resource.expires_at ? countdown(resource.deadline, resource.expires_at) : "never";
  });
  fill(cells.owner, resource.owner, () => resource.owner ?? nothing("–"));
  fill(cells.label, resource.label, () => resource.label ?? nothing("–"));
  fill(cells.waiters, resource.waiters, () => (
    resource.waiters > 0 ? el("b", {}, resource.waiters.toLocaleString()) : nothing("0")));
  fill(cells.token, resource.fencing_token, () => String(resource.fencing_token));
  // Moved only where it must be, because what is moved loses the focus.
  if (at !== undefined && body.children[at] !== row.element) body.insertBefore(row.element, body.children[at] ?? null);
}

function fill(place, value, make) {
  const key = `${value ?? ""}`;
  if (place.shown === key) return;
  place.shown = key;
  place.replaceChildren(make());
}

function newRow(name) {
  const page = pageOf(name);
  const cells = {
    since: cell("Held since"), expires: cell("Expires in"), owner: cell("Owner"), label: cell("Label", undefined, "text"),
    waiters: cell("Waiting", undefined, "number"), token: cell("Token", undefined, "number"),
  };
  const title = page ? el("a", { href: page }, name) : name;
  const element = el("tr", { role: "row" }, el("td", { role: "cell", class: "name" }, title), ...Object.values(cells));
  element.resourceName = name;
  return { element, cells };
}

function drop(name) {
  rows.get(name)?.element.remove();
  rows.delete(name);
}

/** Whether a resource is among what is asked for. */
function isWanted(resource) {
  const words = wanted.search.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${resource.name}\n${resource.label ?? ""}`.toLowerCase();
  const isState = wanted.state === "all" || resource.locked === (wanted.state === "held");
  return isState && resource.name.startsWith(wanted.prefix) && words.every((word) => text.includes(word));
}

/** Where a resource that is new here belongs; -1 is on another page. */
function placeOf(resource) {
  const column = wanted.ordering.replace("-", "");
  const sign = wanted.ordering.startsWith("-") ? -1 : 1;
  const before = (a, b) => {
    const [x, y] = [a[column], b[column]];
    if (x === null || y === null || x === y) return x === y ? a.name < b.name : y === null;
    return (x < y ? -1 : 1) * sign < 0;
  };
  const shown = [...body.children].map((element) => element.resourceName);
  const at = shown.findIndex((name) => before(resource, rows.get(name).resource));
  if (at === 0 && wanted.page !== "1") return -1;
  if (at >= 0) return at;
  return rows.size < Number(wanted.page_size) ? rows.size : -1;
}

function onEvents(events) {
  // Of each resource the last event tells how it is.
  const last = new Map(events.filter((event) => event.event !== "deadlock").map((event) => [event.resource, event]));
  // Of so many at once whoever looks sees nothing come in; the next look brings what is left.
  const areMany = last.size > PLACED_MAX;
  for (const event of last.values()) {
    const isShown = rows.has(event.resource);
    if (areMany && !isShown) continue;
    const resource = resourceAfter(event);
    if (resource === null) continue;
    if (!isWanted(resource)) {
      if (isShown) {
        drop(resource.name);
        count -= 1;
      }
    } else if (isShown) {
      put(resource);
    } else {
      const at = placeOf(resource);
      count += 1;
      if (at < 0) continue;
      put(resource, at);
      const row = rows.get(resource.name).element;
      row.classList.add("fresh");
      if (rows.size > Number(wanted.page_size)) drop(body.lastElementChild.resourceName);
    }
  }
  showPlace();
  if ([...last.values()].some((event) => event.event !== "renewed")) lookSoon();
}

/** How a resource is after an event; null if that cannot be said. */
function resourceAfter(event) {
  const before = rows.get(event.resource)?.resource;
  const { resource: name, fencing_token, owner, label, ttl, at, expires_at } = event;
  const waiters = before?.waiters ?? 0;
  if (event.event === "acquired" || (event.event === "renewed" && before)) {
    const acquired_at = event.event === "acquired" ? at : before.acquired_at;
    const deadline = expires_at ? Date.now() + Date.parse(expires_at) - Date.parse(at) : null;
    return { name, locked: true, owner, label, ttl, acquired_at, expires_at, deadline, fencing_token, waiters };
  }
  if (event.event === "renewed") return null;
  return {
    name, locked: false, owner: null, label: null, ttl: null, acquired_at: null, expires_at: null, deadline: null,
    fencing_token, waiters,
  };
}

const lookSoon = atMostEachSecond(look);

filters.addEventListener("submit", (event) => {
  event.preventDefault();
  const { search, prefix } = filters.elements;
  want({ search: search.value, prefix: prefix.value });
});
let typed = null;
filters.addEventListener("input", (event) => {
  clearTimeout(typed);
  if (!event.target.matches("select")) typed = setTimeout(() => filters.requestSubmit(), 300);
});
filters.addEventListener("change", (event) => {
  if (event.target.matches("select")) want({ [event.target.name]: event.target.value });
});
for (const button of document.querySelectorAll("th[data-order] button")) {
  const column = button.closest("th").dataset.order;
  button.addEventListener("click", () => want({ ordering: wanted.ordering === column ? `-${column}` : column }));
}
byId("previous").addEventListener("click", () => want({ page: String(Number(wanted.page) - 1) }));
byId("next").addEventListener("click", () => want({ page: String(Number(wanted.page) + 1) }));
addEventListener("popstate", show);

let stream = null;
await show();
stream = follow(wanted.prefix, { onEvents, onMissed: lookSoon });
setInterval(() => {
  if (!document.hidden) lookSoon();
}, WAITERS_LOOK_MS);
