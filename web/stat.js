// @ts-check
// Keeps what a page marks with `data-fresh` fresh: asks for the page anew and
// puts what has changed into the one that is shown. Without it, a reload does.

import { showLocalTimes } from "./time.js";

const EVERY_MS = 2000;

/** Takes over what differs, so that a selection in the rest stays. */
function takeOver(/** @type {Element} */ shown, /** @type {Element} */ fresh) {
  const [before, after] = [shown, fresh].map((section) => [...section.querySelectorAll("td, th")]);
  if (before.length !== after.length) {
    shown.replaceWith(document.adoptNode(fresh));
    return;
  }
  before.forEach((cell, index) => {
    const [open, next] = [cell, after[index]].map((one) => one.querySelector("details.raw"));
    if (open && next) {
      next.toggleAttribute("open", open.hasAttribute("open"));
    }
    if (!cell.isEqualNode(after[index])) {
      cell.replaceWith(document.adoptNode(after[index]));
    }
  });
}

async function look() {
  if (!document.hidden) {
    const answer = await fetch(location.href, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    showLocalTimes(page);
    const [shown, fresh] = [document, page].map((one) => one.querySelector("[data-fresh]"));
    // A question that is open must not vanish before it is answered.
    const isAsking = shown?.querySelector("details.ask[open]");
    if (answer.ok && shown && fresh && !isAsking) {
      takeOver(shown, fresh);
    }
  }
}

async function lookAgain() {
  // A box that restarts is away for a moment.
  await look().catch(() => {});
  setTimeout(lookAgain, EVERY_MS);
}

showLocalTimes(document);
setTimeout(lookAgain, EVERY_MS);
