// Keeps a page true: when the stream tells that something has happened, the page is read again and
// its live parts are exchanged. Without this script everything works; one looks again by oneself.
"use strict";

const QUIET_MS = 700; // Between two looks, however much happens.
const started = Date.now() - Number(document.body.dataset.now);
const badge = document.getElementById("live-state");
let due = null;
let looking = false;
let again = false;

function show(state, text) {
  badge.hidden = false;
  badge.className = "live " + state;
  badge.textContent = text;
}

function span(seconds) {
  const whole = Math.max(Math.floor(seconds), 0);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (whole >= length) return Math.floor(whole / length) + " " + unit;
  }
  return whole + " s";
}

function age() {
  const now = Date.now() - started;
  for (const each of document.querySelectorAll("[data-ago]")) {
    const text = span((now - Number(each.dataset.ago)) / 1000);
    if (each.textContent !== text) each.textContent = text;
  }
}

function selectedIn(part) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && part.contains(selection.anchorNode);
}

async function look() {
  if (looking) { again = true; return; }
  looking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.status === 401) { show("bad", "the pass is over: enter again"); return; }
    if (!answer.ok) { show("warning", "no answer yet"); return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next && next.innerHTML !== part.innerHTML && !selectedIn(part)) {
        const focused = part.contains(document.activeElement) && document.activeElement.href;
        part.replaceChildren(...document.importNode(next, true).childNodes);
        if (focused) {
          const same = [...part.querySelectorAll("a")].find((each) => each.href === focused);
          if (same) same.focus({ preventScroll: true });
        }
      }
    }
    age();
    document.body.dataset.seen = String(Number(document.body.dataset.seen || 0) + 1);
  } catch {
    show("warning", "not connected");
  } finally {
    looking = false;
    if (again) { again = false; soon(); }
  }
}

function soon() {
  if (due === null) due = setTimeout(() => { due = null; look(); }, QUIET_MS);
}

if (document.querySelector("[data-live]")) {
  const stream = new EventSource("/events");
  let version = null;
  stream.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    if (state.connected) show("good", "live"); else show("warning", "the coordinator is away");
    if (version !== null && state.version !== version) soon();
    version = state.version;
  });
  stream.onerror = () => {
    version = -1;
    show("warning", stream.readyState === EventSource.CLOSED ? "not live: load the page again" : "reconnecting");
  };
  setInterval(age, 1000);
  addEventListener("pagehide", () => stream.close());
}

addEventListener("keydown", (event) => {
  const field = document.querySelector(".find input");
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && field) {
    event.preventDefault();
    field.focus();
  }
});
