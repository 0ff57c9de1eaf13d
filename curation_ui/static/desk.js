// Decisions about small cards, on pages that show many: in force on the page now, on the server soon.

import { ApiError, send, uuid } from "./api.js";
import { byId, number, say } from "./dom.js";
import { Outbox } from "./send.js";

/**
 * @typedef {import("./marks.js").Small} Small
 * @typedef {{card: Small, kind: "keep"|"reject"|"unset", reasons: string[]}} Change
 * @typedef {{onStates: (states: {item: number}[]) => void, onStale: () => void}} Listener `onStale`: more changed
 *   than was told, so that cards must be read again
 */

const EMPTY_MS = 15_000;
const REMEMBERED = 500;

export class Desk {
  /** @param {import("./kept.js").KeptEntries|null} kept @param {Listener} listener */
  constructor(kept, listener) {
    this.listener = listener;
    /** @type {(() => void)[]} */
    this.awaiting = [];
    /** @type {string[]} uuids of the events and batches of this page, the newest last */
    this.strokes = [];
    this.outbox = new Outbox(kept, {
      onResults: (sent, results) => this.#acknowledged(sent, results),
      onUndone: (answer) => this.#undone(/** @type {any} */ (answer)),
      onRefused: (message, entry) => this.#refused(message, entry),
      onChange: () => this.#changed(),
    });
  }

  /** One stroke, undone as one. @param {Change[]} changes at most 200 */
  decide(changes) {
    const batch = changes.length > 1 ? { batch: uuid() } : {};
    const at = new Date().toISOString();
    const events = changes.map(({ card, kind, reasons }) => {
      const event = { uuid: uuid(), item: card.item, kind, reasons, caption: null, crop: null, base: card.version, lease: null, shown_ms: null, at, ...batch };
      Object.assign(card, { verdict: kind === "unset" ? null : kind, reasons });
      return event;
    });
    this.outbox.put(events);
    this.#remember(batch.batch ?? events[0].uuid);
  }

  undo() {
    this.outbox.undo(uuid(), this.strokes.pop());
    this.outbox.flush();
  }

  /** @param {string} name */
  #remember(name) {
    this.strokes = [...this.strokes, name].slice(-REMEMBERED);
  }

  /** What a batch would do. @param {object} body @returns {Promise<{count: number, changes: number, examples: {item: number, before: string|null, after: string|null}[]}>} */
  async preview(body) {
    await this.#empty();
    return send("/api/batch", { ...body, preview: true });
  }

  /** Does it; the same uuid again does nothing more. @param {any} body with a uuid @returns {Promise<{count: number, kept: number}>}
   * `kept`: of these, what others decided since, where this is a second opinion */
  async batch(body) {
    await this.#empty();
    const done = await send("/api/batch", body);
    if (!this.strokes.includes(body.uuid)) this.#remember(body.uuid);
    this.listener.onStale();
    return done;
  }

  /** Waits until the server has all single decisions: a batch is about what they left. */
  async #empty() {
    if (this.outbox.entries.length === 0) return;
    this.outbox.flush();
    const gone = new Promise((resolve) => this.awaiting.push(() => resolve(true)));
    const late = new Promise((resolve) => setTimeout(() => resolve(false), EMPTY_MS));
    if (!(await Promise.race([gone, late]))) throw new ApiError(0, "The server has not taken the decisions before this one yet.");
  }

  #changed() {
    const count = this.outbox.entries.length;
    const why = this.outbox.state === "ready" ? "" : `, ${this.outbox.state}`;
    byId("unsaved").textContent = count ? `${number(count)} unsaved${why}` : "all saved";
    byId("unsaved").classList.toggle("waiting", count > 0 && why !== "");
    if (count === 0) for (const go of this.awaiting.splice(0)) go();
  }

  /** @param {import("./send.js").Decision[]} sent @param {import("./send.js").Result[]} results */
  #acknowledged(sent, results) {
    const pending = new Set(this.outbox.entries.map(({ event }) => /** @type {any} */ (event)?.item));
    this.listener.onStates(results.map((result) => /** @type {any} */ (result.card_state)).filter((state) => !pending.has(state.item)));
    const others = results.filter(({ status }) => status === "second_opinion").length;
    if (others) say(`${number(others)} of these were decided before you; yours are kept as second opinions.`);
  }

  /** @param {{undone: {kind: string, count: number}, states: {item: number}[], kept?: number[]}} answer */
  #undone({ undone, states, kept }) {
    const stay = kept?.length ? ` ${number(kept.length)} stay: somebody changed them since.` : "";
    say(`Undone: ${undone.kind} of ${undone.count === 1 ? "an image" : `${number(undone.count)} images`}.${stay}`);
    this.listener.onStates(states);
    if (undone.count > states.length) this.listener.onStale();
  }

  /** @param {string} message @param {import("./kept.js").Entry} entry */
  #refused(message, entry) {
    this.strokes = this.strokes.filter((name) => name !== entry.uuid);
    say(message);
    this.listener.onStale();
  }
}
