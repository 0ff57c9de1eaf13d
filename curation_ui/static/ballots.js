// Votes on their way: kept by the browser until the server has said that they are on its disk.

import { ApiError, send } from "./api.js";

/**
 * @typedef {{uuid: string, trial: string, choice: string, rt_ms: number, decoded_ms: number,
 *   viewport: [number, number], dpr: number, at: string}} Ballot
 */

const KEPT = "mashbill-ballots";
const AGAIN_MS = 2000;
const PER_CALL = 20;

export class Ballots {
  /** @param {(count: number) => void} changed told how many are not saved yet @param {(message: string) => void} refused */
  constructor(changed, refused) {
    this.changed = changed;
    this.refused = refused;
    /** @type {Ballot[]} */
    this.waiting = read();
    this.sending = false;
    addEventListener("online", () => this.flush());
    changed(this.waiting.length);
  }

  /** @param {Ballot} ballot @returns {Promise<{status: string, right?: boolean}|null>} what the server said of it */
  async add(ballot) {
    this.waiting.push(ballot);
    this.#keep();
    const results = await this.flush();
    return results.find((/** @type {any} */ result) => result.uuid === ballot.uuid) ?? null;
  }

  /** @param {boolean} leaving @returns {Promise<any[]>} */
  async flush(leaving = false) {
    if (!this.waiting.length || (this.sending && !leaving)) return [];
    this.sending = true;
    const part = this.waiting.slice(0, PER_CALL);
    try {
      const { results } = await send("/api/study/votes", { votes: part }, { keepalive: leaving });
      this.#drop(part);
      this.sending = false;
      return [...results, ...(await this.flush())];
    } catch (error) {
      this.sending = false;
      if (!(error instanceof ApiError)) throw error;
      const final = [400, 403, 404, 409].includes(error.status);
      if (final) this.#drop(part);
      if (final) this.refused(error.message);
      else setTimeout(() => this.flush(), Math.max(AGAIN_MS, error.retryAfter * 1000));
      return [];
    }
  }

  /** @param {Ballot[]} done */
  #drop(done) {
    const gone = new Set(done.map((ballot) => ballot.uuid));
    this.waiting = this.waiting.filter((ballot) => !gone.has(ballot.uuid));
    this.#keep();
  }

  #keep() {
    localStorage.setItem(KEPT, JSON.stringify(this.waiting));
    this.changed(this.waiting.length);
  }
}

/** @returns {Ballot[]} what an earlier page could not send */
function read() {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return []; // changed by hand: nothing in it can be sent
  }
}
