// What happens to locks, as it happens: /events/stream/.
//
// Events are handed on together, once a frame, so that thousands of them are one
// change of the page. A tab that nobody looks at hears nothing and holds no
// connection, of which browsers have six for a server; when it is looked at
// again the page is told that it may have missed something.

import { byId, setText } from "./dom.js";

/** Between two attempts where the server refuses. */
const RETRY_MS = 5000;

/** Of more than so many events in a frame the page looks at the server once. */
const EVENTS_MAX = 5000;

/** Follows what happens to resources whose names begin with `prefix`. */
export function follow(prefix, { onEvents, onMissed }) {
  let source = null;
  let retry = null;
  let queue = [];
  let frame = null;

  const deliver = () => {
    frame = null;
    const events = queue;
    queue = [];
    if (events.length > EVENTS_MAX) onMissed();
    else if (events.length > 0) onEvents(events);
  };

  const open = () => {
    clearTimeout(retry);
    const path = prefix ? `/events/stream/?prefix=${encodeURIComponent(prefix)}` : "/events/stream/";
    let hasFailed = false;
    source = new EventSource(path);
    source.addEventListener("open", () => {
      show("Live", true);
      // After the first connection, too: something may have happened before it.
      onMissed(hasFailed);
      hasFailed = false;
    });
    source.addEventListener("lock", (message) => {
      if (queue.length <= EVENTS_MAX) queue.push(JSON.parse(message.data));
      frame ??= requestAnimationFrame(deliver);
    });
    source.addEventListener("error", () => {
      hasFailed = true;
      show("Not live; connecting…", false);
      if (source.readyState !== EventSource.CLOSED) return;
      // The browser gives up where the answer is an error.
      close();
      retry = setTimeout(open, RETRY_MS);
      onMissed(true);
    });
  };

  const close = () => {
    clearTimeout(retry);
    source?.close();
    source = null;
  };

  const show = (text, isLive) => {
    setText(byId("live"), text);
    byId("live").classList.toggle("on", isLive);
  };

  document.addEventListener("visibilitychange", () => {
    close();
    if (!document.hidden) open();
  });
  if (!document.hidden) open();

  return {
    /** Follows others from now on. */
    change(next) {
      if (next === prefix) return;
      prefix = next;
      queue = [];
      close();
      if (!document.hidden) open();
    },
  };
}
