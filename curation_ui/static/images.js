// Images decoded before they are asked for: the next eight and the last four of the trail.

/** @typedef {import("./api.js").Card} Card */

const AHEAD = 8;
const BEHIND = 4;
// HTTP/1.1 gives a host six connections: decisions must never queue behind images.
const AT_ONCE = 4;

/** @typedef {{image: HTMLImageElement, state: "waiting"|"loading"|"ready"|"failed", card: Card}} Entry */

export class DecodedWindow {
  /** @param {(item: number) => void} onSettled told when an image is decoded, or cannot be */
  constructor(onSettled) {
    /** @type {Map<number, Entry>} */
    this.entries = new Map();
    this.onSettled = onSettled;
    this.loading = 0;
  }

  /**
   * Moves the window. The current card comes first, then those after it, then those before.
   * @param {Card[]} cards @param {number} at index of the current card
   */
  move(cards, at) {
    const wanted = cards.slice(at, at + 1 + AHEAD).concat(cards.slice(Math.max(0, at - BEHIND), at).reverse());
    const kept = new Map();
    for (const [rank, card] of wanted.entries()) {
      const entry = this.entries.get(card.item) ?? { image: new Image(), state: "waiting", card };
      entry.image.fetchPriority = rank === 0 ? "high" : "low";
      kept.set(card.item, entry);
    }
    for (const [item, entry] of this.entries) {
      if (!kept.has(item) && entry.state === "loading") entry.image.src = "";
    }
    this.entries = kept;
    this.#fill();
  }

  /** @param {number} item @returns {Entry|undefined} */
  find(item) {
    return this.entries.get(item);
  }

  /** Tries a failed image again. @param {number} item */
  retry(item) {
    const entry = this.entries.get(item);
    if (entry?.state !== "failed") return;
    this.entries.set(item, { image: new Image(), state: "waiting", card: entry.card });
    this.#fill();
  }

  #fill() {
    for (const entry of this.entries.values()) {
      if (this.loading >= AT_ONCE) return;
      if (entry.state === "waiting") this.#load(entry);
    }
  }

  /** @param {Entry} entry */
  async #load(entry) {
    entry.state = "loading";
    this.loading++;
    entry.image.decoding = "async";
    entry.image.alt = "";
    entry.image.draggable = false;
    entry.image.src = entry.card.image;
    try {
      await entry.image.decode();
      entry.state = "ready";
    } catch {
      entry.state = "failed"; // the review page says so and offers to try again
    }
    this.loading--;
    if (this.entries.get(entry.card.item) === entry) this.onSettled(entry.card.item);
    this.#fill();
  }
}
