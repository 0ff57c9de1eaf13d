// Decisions on their way to the server: in memory and in IndexedDB until it has acknowledged them.

import { ApiError, send } from "./api.js";

/**
 * @typedef {import("./kept.js").Entry} Entry
 * @typedef {{uuid: string, item: number, kind: "keep"|"reject"|"unset"|"caption"|"crop", reasons: string[],
 *   caption: string|null, crop: number[]|null, base: number, lease: string|null, shown_ms: number|null,
 *   at: string, batch?: string}} Decision
 * @typedef {{uuid: string, status: "done"|"repeat"|"second_opinion"|"conflict", card_state: object,
 *   theirs?: {caption: string, by: string, base_caption: string}}} Result
 * @typedef {{onResults: (sent: Decision[], results: Result[]) => void, onUndone: (answer: object) => void,
 *   onRefused: (message: string, entry: Entry) => void, onChange: () => void}} Listener
 */

const WAIT_MS = 250;
const ENOUGH = 8;
const AT_MOST = 50;
const KEEPALIVE_BYTES = 48_000; // browsers allow 64 KiB of such bodies at a time
const LONGEST_PAUSE_MS = 10_000;

export class Outbox {
  /** @param {import("./kept.js").KeptEntries|null} kept null where the browser keeps nothing @param {Listener} listener */
  constructor(kept, listener) {
    this.kept = kept;
    this.listener = listener;
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {Set<string>} */
    this.flying = new Set();
    /** @type {"ready"|"offline"|"signed out"|"asked to wait"} */
    this.state = "ready";
    this.failures = 0;
    this.timer = 0;
    this.holds = { uuid: "", timer: 0 };
    this.oneByOne = false;
    addEventListener("online", () => this.flush());
    addEventListener("pagehide", () => this.leave());
  }

  /** Takes up what an earlier page could not send. */
  async resume() {
    if (!this.kept) return;
    this.entries = [...(await this.kept.all()), ...this.entries];
    this.listener.onChange();
    this.flush();
  }

  /** @param {Decision[]} events of one stroke, which go to the server together */
  put(events) {
    const first = this.#next();
    this.#enter(events.map((event, index) => ({ uuid: event.uuid, order: first + index, event })));
  }

  /** Undoes a stroke; the newest of this person's without a name. @param {string} uuid
   * @param {string} [undoes] uuid of its event or batch */
  undo(uuid, undoes) {
    this.#enter([{ uuid, order: this.#next(), undoes }]);
  }

  /** Keeps the newest entry back for a moment, in which it may still be amended. @param {string} uuid @param {number} ms */
  hold(uuid, ms) {
    clearTimeout(this.holds.timer);
    this.holds = { uuid, timer: setTimeout(() => this.#release(), ms) };
  }

  /** @param {string} uuid @param {string[]} reasons @returns {boolean} false where it is too late */
  amend(uuid, reasons) {
    const entry = this.entries.find((one) => one.uuid === uuid);
    if (!entry?.event || this.flying.has(uuid)) return false;
    entry.event = { ...entry.event, reasons };
    this.#keep(() => this.kept?.put([entry]));
    return true;
  }

  /** Sends what may be sent now, unless something is on its way already. */
  flush() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.flying.size === 0) this.#sendNext(false);
  }

  /** Sends what it can while the page goes away; the rest is kept. */
  leave() {
    clearTimeout(this.holds.timer);
    this.holds = { uuid: "", timer: 0 };
    if (this.flying.size === 0) this.#sendNext(true);
  }

  #next() {
    const last = this.entries[this.entries.length - 1]?.order ?? 0;
    return Math.max(Date.now() * 1000, last + 1);
  }

  /** @param {Entry[]} entries */
  #enter(entries) {
    this.#release();
    this.entries.push(...entries);
    this.#keep(() => this.kept?.put(entries));
    this.listener.onChange();
    if (this.failures > 0) return; // a later try is planned already
    if (this.entries.length >= ENOUGH) this.flush();
    else if (!this.timer) this.timer = setTimeout(() => this.flush(), WAIT_MS);
  }

  #release() {
    clearTimeout(this.holds.timer);
    if (!this.holds.uuid) return;
    this.holds = { uuid: "", timer: 0 };
    if (!this.timer && this.failures === 0) this.timer = setTimeout(() => this.flush(), WAIT_MS);
  }

  /** @param {() => Promise<void>|undefined} write */
  async #keep(write) {
    try {
      await write();
    } catch {
      this.kept = null; // the page says from now on that a reload loses what is unsaved
      this.listener.onChange();
    }
  }

  /** The next run of events, or one undo. @returns {Entry[]} */
  #run() {
    const free = this.entries.filter((entry) => entry.uuid !== this.holds.uuid);
    const first = free[0];
    if (!first?.event) return free.slice(0, 1);
    const undo = free.findIndex((entry) => !entry.event);
    const events = free.slice(0, undo < 0 ? free.length : undo);
    let end = Math.min(events.length, this.oneByOne ? 1 : AT_MOST);
    const batchAt = (/** @type {number} */ index) => /** @type {Decision|undefined} */ (events[index]?.event)?.batch;
    while (!this.oneByOne && batchAt(end) && batchAt(end) === batchAt(end - 1)) end++;
    return events.slice(0, end);
  }

  /** @param {boolean} leaving */
  async #sendNext(leaving) {
    const run = this.#run();
    if (run.length === 0) return;
    this.flying = new Set(run.map((entry) => entry.uuid));
    try {
      await (run[0].event ? this.#sendEvents(run, leaving) : this.#sendUndo(run[0], leaving));
      this.failures = 0;
      this.state = "ready";
      this.oneByOne = false;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#failed(error, run);
    } finally {
      this.flying = new Set();
    }
    this.listener.onChange();
    if (this.failures === 0 && !this.timer) this.#sendNext(leaving);
  }

  /** @param {Entry[]} run @param {boolean} leaving */
  async #sendEvents(run, leaving) {
    const body = { events: run.map((entry) => entry.event) };
    const keepalive = leaving && JSON.stringify(body).length < KEEPALIVE_BYTES;
    const { results } = await send("/api/events", body, { keepalive });
    const known = new Set(results.map((/** @type {Result} */ result) => result.uuid));
    this.#forget(run.filter((entry) => known.has(entry.uuid)));
    this.listener.onResults(/** @type {Decision[]} */ (run.map((entry) => entry.event)), results);
    if (known.size < run.length) throw new ApiError(502, "The server did not answer every decision.");
  }

  /** @param {Entry} entry @param {boolean} leaving */
  async #sendUndo(entry, leaving) {
    const { uuid, undoes } = entry;
    const answer = await send("/api/undo", { uuid, undoes }, { keepalive: leaving });
    this.#forget([entry]);
    this.listener.onUndone(answer);
  }

  /** @param {ApiError} error @param {Entry[]} run */
  #failed(error, run) {
    const refused = [400, 403, 404, 409, 413, 422].includes(error.status);
    if (refused && run.length > 1) {
      this.oneByOne = true; // one of them is to blame; the others must not wait for it
      this.timer = setTimeout(() => this.flush(), 0);
      return;
    }
    if (refused) {
      this.#forget(run);
      this.listener.onRefused(error.message, run[0]);
      this.timer = setTimeout(() => this.flush(), 0);
      return;
    }
    this.failures++;
    this.state = error.status === 401 ? "signed out" : error.status === 429 ? "asked to wait" : "offline";
    const pause = error.retryAfter * 1000 || Math.min(LONGEST_PAUSE_MS, 500 * 2 ** this.failures);
    this.timer = setTimeout(() => this.flush(), pause * (1 + Math.random() / 4));
  }

  /** @param {Entry[]} gone */
  #forget(gone) {
    const uuids = new Set(gone.map((entry) => entry.uuid));
    this.entries = this.entries.filter((entry) => !uuids.has(entry.uuid));
    this.#keep(() => this.kept?.remove([...uuids]));
  }
}
