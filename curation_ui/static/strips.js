// Rows of small images: the last ten decisions, and the duplicates of the image shown.

import { ApiError, get } from "./api.js";
import { byId, element, say } from "./dom.js";

/** @typedef {import("./api.js").Card} Card */

const LAST = 10;
const SIGNS = { keep: "✓", reject: "✕" };
const WORDS = { keep: "kept", reject: "rejected" };

/** A small image with its verdict in sign and word. @param {Card} card @param {() => void} onPress
 * @param {boolean} current */
function small(card, onPress, current) {
  const word = card.verdict ? WORDS[card.verdict] : "undecided";
  const image = element("img", { src: card.thumb, alt: "", width: 64, height: 64, loading: "lazy" });
  const sign = element("span", { class: `sign ${card.verdict ?? "none"}`, "aria-hidden": "true" }, card.verdict ? SIGNS[card.verdict] : "·");
  const button = element("button", { type: "button", class: "thumb", onclick: onPress }, image, sign);
  button.setAttribute("aria-label", `Image ${card.item}, ${word}`);
  if (current) button.setAttribute("aria-current", "true");
  return element("li", {}, button);
}

export class LastStrip {
  /** @param {(card: Card) => void} onChoose */
  constructor(onChoose) {
    this.onChoose = onChoose;
    /** @type {Card[]} */
    this.cards = [];
    this.timer = 0;
  }

  /** @param {Card} card decided, or undone, just now */
  note(card) {
    this.cards = [card, ...this.cards.filter((one) => one !== card)].slice(0, LAST);
    // Not for every key of a quick series: each thumbnail is a request.
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.show(), 300);
  }

  show() {
    byId("last-list").replaceChildren(...this.cards.map((card) => small(card, () => this.onChoose(card), false)));
  }
}

export class Duplicates {
  /** @param {import("./trail.js").Trail} trail @param {(card: Card) => void} onChoose */
  constructor(trail, onChoose) {
    this.trail = trail;
    this.onChoose = onChoose;
    this.shown = false;
    /** @type {Map<string, Promise<Card[]>>} */
    this.asked = new Map();
  }

  /** The images of a card's cluster, the card itself among them. @param {Card} card @returns {Promise<Card[]>} */
  members(card) {
    const cluster = card.cluster;
    if (cluster === null || card.cluster_size < 2) return Promise.resolve([card]);
    const asked = this.asked.get(cluster) ?? this.#ask(cluster);
    this.asked.set(cluster, asked);
    return asked;
  }

  /** @param {string} cluster @returns {Promise<Card[]>} */
  async #ask(cluster) {
    try {
      const { cards } = await get(`/api/clusters/${encodeURIComponent(cluster)}`);
      return cards.map((/** @type {Card} */ card) => this.trail.meet(card));
    } catch (error) {
      this.asked.delete(cluster); // the next look asks again
      throw error;
    }
  }

  toggle() {
    this.shown = !this.shown;
    byId("duplicates").hidden = !this.shown;
    byId("duplicates-button").setAttribute("aria-pressed", String(this.shown));
    this.show(this.trail.current);
  }

  /** @param {Card|null} card */
  async show(card) {
    if (!this.shown) return;
    const note = byId("duplicates-note"), list = byId("duplicates-list");
    list.replaceChildren();
    note.textContent = card && card.cluster_size > 1 ? "" : "No duplicates of this image.";
    if (!card || card.cluster_size < 2) return;
    try {
      const cards = await this.members(card);
      if (this.trail.current !== card) return;
      list.replaceChildren(...cards.map((one) => small(one, () => this.onChoose(one), one === card)));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(error.message);
    }
  }
}
