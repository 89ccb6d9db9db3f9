// Elements, and how instants and spans are shown. All text comes into the page
// by textContent, so nothing that somebody named can be anything but text.

export const byId = (id) => document.getElementById(id);

/** A new element; `attributes` are set as such, children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A cell of a table that becomes a card on narrow screens. */
export function cell(label, content, kind) {
  return el("td", { role: "cell", "data-label": label, class: kind }, content);
}

/** What stands for nothing, less to be seen. */
export const nothing = (text) => el("span", { class: "nothing" }, text);

/** Shows a message where there is one, else nothing. */
export function say(id, text) {
  const place = byId(id);
  place.textContent = text ?? "";
  place.hidden = !text;
}

/** Sets text only where it changes, so that nothing is laid out in vain. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The way to a resource's page. Of the names `.` and `..` browsers make others. */
export function pageOf(name) {
  return name === "." || name === ".." ? null : `/admin/resources/${encodeURIComponent(name)}/`;
}

/** Below /locks/ a name may have slashes. */
export const pathOf = (name, action = "") => `/locks/${encodeURIComponent(name)}/${action}`;

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** As "3 min 20 s": the two largest units. */
export function span(seconds) {
  let left = Math.max(0, Math.floor(seconds));
  const at = UNITS.findIndex(([, size]) => left >= size);
  if (at < 0) return "0 s";
  return UNITS.slice(at, at + 2).map(([unit, size]) => {
    const count = Math.floor(left / size);
    left -= count * size;
    return count > 0 ? `${count} ${unit}` : null;
  }).filter(Boolean).join(" ");
}

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** An instant in full, as people here write it. */
export const exact = (instant) => EXACT.format(new Date(instant));

/** How far the server's clock is ahead of this machine's, in ms. */
let ahead = 0;

/** Learns the server's time from an answer's `Date`. */
export function learnTime(date) {
  const told = Date.parse(date ?? "");
  if (!Number.isNaN(told)) ahead = told + 500 - Date.now();
}

export const serverNow = () => Date.now() + ahead;

/** An instant as it is told by how long ago it was; its title is exact. */
export function since(instant) {
  if (!instant) return document.createTextNode("–");
  const element = el("time", { datetime: instant, title: exact(instant) });
  element.dataset.since = Date.parse(instant);
  element.textContent = ago(element.dataset.since);
  return element;
}

const ago = (ms) => {
  const seconds = (serverNow() - ms) / 1000;
  return seconds < 1 ? "now" : `${span(seconds)} ago`;
};

/** A span that counts down to `deadline`, of this machine's clock, in ms. */
export function countdown(deadline, instant) {
  const element = el("time", { datetime: instant, title: exact(instant), class: "countdown" });
  element.dataset.deadline = deadline;
  showLeft(element);
  return element;
}

function showLeft(element) {
  const left = (element.dataset.deadline - Date.now()) / 1000;
  setText(element, left > 0 ? span(Math.ceil(left)) : "over");
  element.classList.toggle("soon", left < 10);
}

// Each second, and only what is on this page.
setInterval(() => {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time[data-since]")) setText(element, ago(element.dataset.since));
  for (const element of document.querySelectorAll("time[data-deadline]")) showLeft(element);
}, 1000);
