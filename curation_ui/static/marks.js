// A verdict in a sign and a word: never in color alone.

const SIGNS = { keep: "✓", reject: "✕" };
const SHORT = 120; // characters of a caption on a small card
const WORDS = { keep: "kept", reject: "rejected" };

/** @param {"keep"|"reject"|null} verdict */
export function signOf(verdict) {
  return verdict ? SIGNS[verdict] : "";
}

/** @param {"keep"|"reject"|null} verdict */
export function wordOf(verdict) {
  return verdict ? WORDS[verdict] : "undecided";
}

/** What is heard of a small card. @param {Small} card */
export function labelOf({ item, verdict, reasons, caption, cluster_size: copies }) {
  const why = verdict === "reject" && reasons.length ? ` (${reasons.join(", ")})` : "";
  const alike = copies > 1 ? `, one of ${copies} alike` : "";
  return `Image ${item}, ${wordOf(verdict)}${why}${alike}. ${caption}`;
}

/** Takes over what the server says of an item. @param {Small} card @param {object} state */
export function follow(card, state) {
  const { verdict, reasons, version, caption } = /** @type {any} */ (state);
  Object.assign(card, { verdict, reasons, version, caption: caption.slice(0, SHORT) });
}

/**
 * @typedef {{item: number, thumb: string, width: number, height: number, caption: string,
 *   verdict: null|"keep"|"reject", reasons: string[], version: number, cluster_size: number}} Small
 */
