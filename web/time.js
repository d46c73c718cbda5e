// @ts-check
// Shows the times of a page in the zone and the language of the viewer. Without it they are in UTC.

const FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Replaces the text of each `<time>` below `root`; its UTC text becomes the tooltip. */
export function showLocalTimes(/** @type {ParentNode} */ root) {
  for (const time of root.querySelectorAll("time")) {
    time.title = time.textContent ?? "";
    time.textContent = FORMAT.format(new Date(time.dateTime));
  }
}
