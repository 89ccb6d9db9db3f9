// The tokens that the own one may revoke; new ones, and their end.

import { ask } from "./api.js";
import { byId, cell, el, exact, say, setText } from "./dom.js";
import { attempt } from "./page.js";

const PAGE_SIZE = 50;

let number = 1;

async function look() {
  const list = await attempt(() => ask("GET", `/tokens/?page_size=${PAGE_SIZE}&page=${number}`));
  if (!list) return;
  byId("rows").replaceChildren(...list.results.map(rowOf));
  byId("previous").disabled = !list.previous;
  byId("next").disabled = !list.next;
  const from = (number - 1) * PAGE_SIZE + 1;
  const place = list.results.length === 0 ? "" : `${from}–${from + list.results.length - 1} of ${list.count}`;
  setText(byId("place"), place);
}

const at = (instant) => (instant ? el("time", { datetime: instant, title: instant }, exact(instant)) : "never");

function rowOf(token) {
  const state = token.good ? "Good" : token.revoked_at ? "Revoked" : "Expired";
  const prefixes = token.prefixes.length === 0 ? "all" : el("span", {}, ...token.prefixes.flatMap((prefix, index) => [
    index > 0 ? ", " : "", el("span", { class: "name" }, prefix),
  ]));
  const revoke = el("button", { type: "button", class: "danger small", "aria-label": `Revoke token ${token.id} of ${token.name}` }, "Revoke…");
  revoke.addEventListener("click", () => askToRevoke(token));
  return el("tr", { role: "row", class: token.good ? null : "over" },
    cell("Number", String(token.id), "number"), cell("Name", token.name, "name"), cell("May", token.verbs.join(", ")),
    cell("Names", prefixes), cell("Made", at(token.created_at)), cell("Expires", at(token.expires_at)),
    cell("State", el("span", { class: `state ${token.good ? "held" : "free"}` }, state)),
    cell("", token.good ? revoke : ""),
  );
}

byId("add").addEventListener("click", () => {
  byId("add-form").reset();
  say("add-problem", null);
  byId("add-dialog").showModal();
});
byId("add-cancel").addEventListener("click", () => byId("add-dialog").close());
byId("add-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const verbs = [...form.querySelectorAll("[name=verbs]:checked")].map((box) => box.value);
  if (verbs.length === 0) return say("add-problem", "It must be allowed something.");
  const days = byId("days").value;
  const made = await attempt(() => ask("POST", "/tokens/", {
    name: byId("name").value,
    verbs,
    prefixes: byId("prefixes").value.split("\n").filter(Boolean),
    expires_in: days === "" ? null : Number(days) * 86400,
  }), "add-problem");
  if (!made) return;
  byId("add-dialog").close();
  byId("key").textContent = made.key;
  byId("key-dialog").showModal();
  await look();
});

byId("copy").addEventListener("click", async () => {
  const key = byId("key");
  getSelection().selectAllChildren(key);
  try {
    await navigator.clipboard.writeText(key.textContent);
    setText(byId("copy"), "Copied");
  } catch {
    // Without TLS browsers allow it on the same machine only; it is selected.
    setText(byId("copy"), "Selected");
  }
});
byId("key-dialog").addEventListener("close", () => {
  byId("key").textContent = "";
  setText(byId("copy"), "Copy");
});

let revoked = null;

function askToRevoke(token) {
  revoked = token;
  setText(byId("revoke-number"), String(token.id));
  setText(byId("revoke-name"), token.name);
  say("revoke-problem", null);
  byId("revoke-dialog").showModal();
}

byId("revoke-cancel").addEventListener("click", () => byId("revoke-dialog").close());
byId("revoke-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const done = await attempt(() => ask("DELETE", `/tokens/${revoked.id}/`).then(() => true), "revoke-problem");
  if (!done) return;
  byId("revoke-dialog").close();
  say("done", `Token ${revoked.id} of ${revoked.name} is revoked.`);
  await look();
});

for (const [id, step] of [["previous", -1], ["next", 1]]) {
  byId(id).addEventListener("click", () => {
    number += step;
    look();
  });
}

await look();
