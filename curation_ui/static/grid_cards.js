// The cards of a snapshot, page by page: what is looked at first, a few at a time, the oldest forgotten.

import { ApiError, get } from "./api.js";

/** @typedef {import("./marks.js").Small} Small */

const PAGE = 64;
const REMEMBERED = 40;
const AT_ONCE = 2;
const RETRY_MS = 2000;

export class CardPages {
  /** @param {{onLoaded: () => void, onGone: () => void, onTrouble: (sentence: string) => void}} listener */
  constructor(listener) {
    this.listener = listener;
    this.use("", 0);
  }

  /** @param {string} snapshot @param {number} count */
  use(snapshot, count) {
    this.snapshot = snapshot;
    this.count = count;
    /** @type {Map<number, {cards: Small[], fresh: boolean}>} the oldest first */
    this.pages = new Map();
    /** @type {number[]} */
    this.wanted = [];
    /** @type {Set<number>} */
    this.flying = new Set();
  }

  /** @param {number} at @returns {Small|undefined} */
  card(at) {
    return this.pages.get(Math.floor(at / PAGE))?.cards[at % PAGE];
  }

  /** The card of an item, if it is here. @param {number} item @returns {Small|undefined} */
  of(item) {
    for (const { cards } of this.pages.values()) {
      const found = cards.find((card) => card.item === item);
      if (found) return found;
    }
    return undefined;
  }

  /** What is here is old: it is shown until it has been read again. */
  stale() {
    for (const page of this.pages.values()) page.fresh = false;
  }

  /** @param {number} first @param {number} last positions that are looked at */
  want(first, last) {
    const from = Math.floor(Math.max(first, 0) / PAGE), to = Math.floor(Math.min(last, this.count - 1) / PAGE);
    this.wanted = Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
    for (const page of this.wanted) this.#touch(page);
    this.#pump();
  }

  /** Cards of some positions, read where they are not here. @param {number[]} positions @returns {Promise<Small[]>} */
  async all(positions) {
    const missing = [...new Set(positions.filter((at) => !this.card(at)).map((at) => Math.floor(at / PAGE)))];
    for (const page of missing) await this.#load(page);
    return /** @type {Small[]} */ (positions.map((at) => this.card(at)).filter(Boolean));
  }

  /** @param {number} page */
  #touch(page) {
    const found = this.pages.get(page);
    if (!found) return;
    this.pages.delete(page);
    this.pages.set(page, found);
  }

  #pump() {
    for (const page of this.wanted) {
      if (this.flying.size >= AT_ONCE) return;
      if (!this.flying.has(page) && !this.pages.get(page)?.fresh) this.#fly(page);
    }
  }

  /** @param {number} page */
  async #fly(page) {
    const { flying } = this;
    flying.add(page);
    try {
      await this.#load(page);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (flying !== this.flying) return;
      if (error.status === 404) return this.listener.onGone();
      this.listener.onTrouble(`${error.message} Trying again.`);
      setTimeout(() => this.#landed(flying, page), error.retryAfter * 1000 || RETRY_MS);
      return;
    }
    this.#landed(flying, page);
  }

  /** @param {Set<number>} flying @param {number} page */
  #landed(flying, page) {
    flying.delete(page);
    if (flying !== this.flying) return; // another snapshot meanwhile
    this.listener.onLoaded();
    this.#pump();
  }

  /** @param {number} page */
  async #load(page) {
    const { pages, snapshot } = this;
    const { cards } = await get(`/api/snapshots/${encodeURIComponent(snapshot)}/cards?start=${page * PAGE}&count=${PAGE}`);
    pages.set(page, { cards, fresh: true });
    for (const old of pages.keys()) {
      if (pages.size <= REMEMBERED) break;
      if (!this.wanted.includes(old)) pages.delete(old);
    }
  }
}
