// What a person decided: shown at once, sent later, undone in the order of strokes.

import { uuid } from "./api.js";
import { take } from "./trail.js";

/**
 * @typedef {import("./api.js").Card} Card
 * @typedef {import("./send.js").Decision} Decision
 * @typedef {{card: Card, kind: Decision["kind"], reasons?: string[], caption?: string|null,
 *   crop?: number[]|null}} Change
 * @typedef {{name: string, changes: {card: Card, before: object, event: Decision}[], kind: string,
 *   last: Decision}} Stroke `name`: uuid of its event, or of the batch of its events
 */

const REMEMBERED = 500;

/** @param {Card} card what a decision may change of it */
function stateOf({ verdict, reasons, caption, crop, by, mine = null }) {
  return { verdict, reasons, caption, crop, by, mine };
}

/** @param {Card} card @param {Change} change @param {string} me */
function apply(card, { kind, reasons = [], caption = null, crop = null }, me) {
  if (kind === "caption") card.caption = caption ?? "";
  else if (kind === "crop") card.crop = /** @type {any} */ (crop);
  else {
    card.verdict = kind === "unset" ? null : kind;
    card.mine = card.verdict;
    card.reasons = kind === "reject" ? reasons : [];
    card.by = kind === "unset" ? null : me;
  }
}

/** @param {string|undefined} kind */
function isVerdict(kind) {
  return kind === "keep" || kind === "reject";
}

export class Ledger {
  /** @param {import("./send.js").Outbox} outbox @param {(item: number) => string|null} leaseOf @param {string} me */
  constructor(outbox, leaseOf, me) {
    this.outbox = outbox;
    this.leaseOf = leaseOf;
    this.me = me;
    /** @type {Stroke[]} */
    this.strokes = [];
    this.decided = 0;
  }

  /** Makes one stroke of some changes. @param {Change[]} changes @param {number|null} shownMs @returns {Stroke} */
  enter(changes, shownMs) {
    const batch = changes.length > 1 ? { batch: uuid() } : {};
    const made = changes.map((change) => this.#enterOne(change, shownMs, batch));
    this.outbox.put(made.map(({ event }) => event));
    const kind = changes[changes.length - 1].kind, last = made[made.length - 1].event;
    const stroke = { name: last.batch ?? last.uuid, changes: made, kind, last };
    this.strokes.push(stroke);
    if (this.strokes.length > REMEMBERED) this.strokes.shift();
    if (isVerdict(kind)) this.decided++;
    return stroke;
  }

  /** @param {Change} change @param {number|null} shownMs @param {object} batch */
  #enterOne(change, shownMs, batch) {
    const { card, kind, reasons = [], caption = null, crop = null } = change;
    const before = stateOf(card);
    /** @type {Decision} */
    const event = {
      uuid: uuid(), item: card.item, kind, reasons, caption, crop, base: card.version,
      lease: this.leaseOf(card.item), shown_ms: shownMs, at: new Date().toISOString(), ...batch,
    };
    apply(card, change, this.me);
    return { card, before, event };
  }

  /**
   * Gives the newest stroke, a rejection, other reasons: in the same event while it has not been sent, else in
   * a stroke of its own.
   * @param {Stroke} stroke @param {string[]} reasons
   */
  giveReasons(stroke, reasons) {
    const { card } = stroke.changes[0];
    if (this.outbox.amend(stroke.last.uuid, reasons)) card.reasons = reasons;
    else this.enter([{ card, kind: "reject", reasons }], null);
  }

  /** Takes the newest stroke back on the page and asks the server to. @returns {Stroke|null} null: made elsewhere */
  undo() {
    const stroke = this.strokes.pop() ?? null;
    for (const { card, before } of [...(stroke?.changes ?? [])].reverse()) Object.assign(card, before);
    if (isVerdict(stroke?.kind)) this.decided--;
    this.outbox.undo(uuid(), stroke?.name);
    return stroke;
  }

  /** Forgets a change that the server did not take: undo must not mean it. @param {string} name uuid of its event */
  drop(name) {
    this.strokes = this.strokes.flatMap((stroke) => {
      const changes = stroke.changes.filter(({ event }) => event.uuid !== name);
      const kind = changes[changes.length - 1]?.event.kind;
      if (isVerdict(stroke.kind) && !isVerdict(kind)) this.decided--;
      return kind ? [{ ...stroke, changes, kind }] : [];
    });
  }

  /** Whether something of an item, or an undo of anything, is still on its way. @param {number} item */
  isPending(item) {
    return this.outbox.entries.some(({ event }) => !event || /** @type {Decision} */ (event).item === item);
  }

  /** Takes over what the server says of a card, unless it is about to hear something newer. @param {Card} card
   * @param {object} state */
  settle(card, state) {
    if (!this.isPending(card.item)) take(card, state);
  }
}
