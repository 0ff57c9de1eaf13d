// The cards a person walks along: leased from the queue, or a filtered set in its order.

import { get, getBytes, send } from "./api.js";

/** @typedef {import("./api.js").Card} Card */

const PORTION = 16;
const AHEAD = 12;

/** What changes of a card, as the server says it. @param {Card} card @param {object} state */
export function take(card, state) {
  for (const name of ["verdict", "reasons", "caption", "crop", "version", "by"]) {
    if (name in state) Reflect.set(card, name, Reflect.get(state, name));
  }
}

/** Whether the person may still decide it: with several votes it may stay open after theirs. @param {Card} card */
export function isFree({ verdict, mine }) {
  return verdict === null && !mine;
}

export class Trail {
  constructor() {
    /** @type {Map<number, Card>} */
    this.known = new Map();
    /** @type {Map<number, string>} lease by item */
    this.leases = new Map();
    this.left = 0;
    this.#restart();
    this.snapshot = null;
  }

  #restart() {
    /** @type {Card[]} */
    this.cards = [];
    this.at = 0;
    this.taken = 0; // cards that were loaded; an undo may bring others in between
    this.ended = false;
    /** @type {Promise<void>|null} */
    this.loading = null;
    this.round = (this.round ?? 0) + 1;
  }

  get current() {
    return this.cards[this.at] ?? null;
  }

  /** The one object of an item, however often it comes. @param {Card} card @returns {Card} */
  meet(card) {
    const before = this.known.get(card.item);
    if (before && before.version >= card.version) return before;
    if (before) return Object.assign(before, card);
    this.known.set(card.item, card);
    return card;
  }

  /** Walks the queue again from where it stands. */
  useQueue() {
    this.#restart();
    this.snapshot = null;
  }

  /** @param {string} query @param {string} sort @returns {Promise<number>} how many match */
  async useFilter(query, sort) {
    const { snapshot, count } = await send("/api/snapshots", { query, sort });
    const order = new Uint32Array(await getBytes(`/api/snapshots/${encodeURIComponent(snapshot)}/order`));
    await this.release();
    this.#restart();
    this.snapshot = { id: snapshot, order };
    return count;
  }

  /** Loads what is needed soon. @returns {Promise<void>} settled when it is there */
  more() {
    if (this.ended || this.cards.length - this.at > AHEAD) return this.loading ?? Promise.resolve();
    this.loading ??= this.#load(this.round);
    return this.loading;
  }

  /** @param {number} round the trail that the cards are for */
  async #load(round) {
    try {
      const found = this.snapshot ? await this.#fromSnapshot(this.snapshot) : await this.#fromQueue();
      if (round !== this.round) return; // the person went elsewhere meanwhile
      this.cards.push(...found.cards.map((card) => this.meet(card)));
      this.taken += found.cards.length;
      this.ended = found.ended;
      this.left = found.left;
    } finally {
      if (round === this.round) this.loading = null;
    }
  }

  async #fromQueue() {
    const { lease, cards, left } = await get(`/api/queue?n=${PORTION}`);
    const here = new Set(this.cards.map((card) => card.item));
    for (const card of cards) this.leases.set(card.item, lease);
    const fresh = cards.filter((/** @type {Card} */ card) => !here.has(card.item));
    return { cards: /** @type {Card[]} */ (fresh), ended: fresh.length === 0, left };
  }

  /** @param {{id: string, order: Uint32Array}} snapshot */
  async #fromSnapshot({ order }) {
    const from = this.taken;
    const items = order.subarray(from, from + PORTION);
    const rest = { ended: from + items.length >= order.length, left: order.length };
    if (items.length === 0) return { cards: /** @type {Card[]} */ ([]), ...rest };
    const { cards } = await get(`/api/cards?items=${Array.from(items).join(",")}`);
    return { cards: /** @type {Card[]} */ (cards), ...rest };
  }

  /** @param {number} by 1 or -1 @returns {boolean} whether there was somewhere to go */
  step(by) {
    const to = this.at + by;
    if (to < 0 || to >= this.cards.length) return false;
    this.at = to;
    return true;
  }

  /** To the next undecided card, else the last undecided one before. @returns {boolean} whether there is one */
  toUndecided() {
    const after = this.cards.findIndex((card, index) => index > this.at && isFree(card));
    const before = this.cards.slice(0, this.at).findLastIndex(isFree);
    const to = after >= 0 ? after : before;
    if (to >= 0) this.at = to;
    return to >= 0;
  }

  /** Onwards after a decision: through a filtered set one by one, through the queue to what is undecided. */
  advance() {
    return this.snapshot ? this.step(1) : this.toUndecided();
  }

  /** Goes to a card, which joins the trail here if it was not on it. @param {Card} card */
  goTo(card) {
    const index = this.cards.findIndex((one) => one.item === card.item);
    if (index >= 0) this.at = index;
    else this.cards.splice(this.at, 0, card);
  }

  /** Leases with something undecided under them. @returns {string[]} */
  openLeases() {
    const open = [...this.leases].filter(([item]) => {
      const card = this.known.get(item);
      return card && isFree(card);
    });
    return [...new Set(open.map(([, lease]) => lease))];
  }

  /** Forgets a lease that ran out: what is undecided under it may be somebody else's now. @param {string} lease */
  drop(lease) {
    const lost = new Set([...this.leases].filter(([, one]) => one === lease).map(([item]) => item));
    for (const item of lost) this.leases.delete(item);
    if (this.snapshot) return;
    const now = this.current;
    this.cards = this.cards.filter((card) => card === now || !isFree(card) || !lost.has(card.item));
    this.at = now ? this.cards.indexOf(now) : 0;
    this.ended = false;
  }

  /** Gives back what is not decided. */
  async release() {
    const open = this.openLeases();
    this.leases.clear();
    await Promise.all(open.map((lease) => send("/api/queue/release", { lease }, { keepalive: true })));
  }
}
