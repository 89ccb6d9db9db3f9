// What all pages do: keys, and errors that nobody caught.

import { byId, say } from "./dom.js";

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select, dialog");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = byId("search");
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select();
});

/** Runs what may be refused, and shows where it was. */
export async function attempt(work, place = "problem") {
  try {
    const done = await work();
    say(place, null);
    return done;
  } catch (error) {
    say(place, error.message);
    return undefined;
  }
}

/** At most one run at a time, and one a second; who asks meanwhile gets one more. */
export function atMostEachSecond(work) {
  let isRunning = false;
  let isWanted = false;
  let notBefore = 0;
  let timer = null;
  const run = async () => {
    timer = null;
    isWanted = false;
    isRunning = true;
    const began = performance.now();
    await work();
    const ended = performance.now();
    // A server that takes long is asked less often.
    notBefore = began + Math.max(1000, 5 * (ended - began));
    isRunning = false;
    if (isWanted) plan();
  };
  const plan = () => {
    timer ??= setTimeout(run, Math.max(0, notBefore - performance.now()));
  };
  return () => {
    isWanted = true;
    if (!isRunning) plan();
  };
}
