// What is going on in a queue: how far it is, how fast, why, who, and where people disagree.

import { ApiError, get, send } from "./api.js";
import { drawBars, drawHours, hourName, share } from "./charts.js";
import { byId, element, number, say } from "./dom.js";
import { addressOf, begin } from "./session.js";

const AGAIN_MS = 10_000;

/**
 * @typedef {{id: number, name: string, decided: number, per_hour: number, keep_share: number|null,
 *   agreement: number|null, votes_compared: number}} Line
 * @typedef {{items: number, decided: number, kept: number, rejected: number, second_opinions: number,
 *   open_leases: number, captions_changed: number, crops_changed: number, reasons: Object<string, number>,
 *   per_hour: {hour: string, decided: number}[], people: Line[], coverage: number, disagreed: number[]}} Numbers
 */

/** @param {string} id @param {(string|Node)[][]} rows of cells, the first one the row's head */
function fill(id, rows) {
  const made = rows.map(([head, ...cells]) => element("tr", {}, element("th", { scope: "row" }, head), ...cells.map((cell) => element("td", {}, cell))));
  byId(id).querySelector("tbody").replaceChildren(...made);
}

/** @param {number|null} part @returns {string} */
function percent(part) {
  return part === null ? "none yet" : share(part, 1);
}

/** @param {Line} line @returns {string[]} */
function lineOf({ decided, per_hour: perHour, keep_share: kept, agreement, votes_compared: compared }) {
  const agrees = agreement === null ? "nothing to compare" : `${percent(agreement)} of ${number(compared)}`;
  return [number(decided), decided ? number(Math.round(perHour)) : "", decided ? percent(kept) : "", agrees];
}

class Overview {
  /** @param {import("./api.js").Me} me */
  constructor(me) {
    this.labels = new Map(me.reasons.map(({ code, label }) => [code, label]));
    /** @type {Numbers|null} */
    this.numbers = null;
    this.shown = "";
    byId("export").hidden = me.person.role === "annotator";
    byId("export").addEventListener("click", () => this.#export());
    new ResizeObserver(() => this.#charts()).observe(byId("funnel"));
    setInterval(() => document.visibilityState === "visible" && this.load(), AGAIN_MS);
  }

  async load() {
    try {
      this.numbers = await get("/api/overview");
      byId("trouble").hidden = true;
      byId("when").textContent = `as of ${new Date().toLocaleTimeString("en-GB")}`;
      this.#draw();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("trouble").hidden = false;
      byId("trouble").textContent = error.message;
    }
  }

  #draw() {
    const text = JSON.stringify(this.numbers);
    if (text === this.shown) return; // nothing happened: what somebody reads or marks stays
    this.shown = text;
    this.#tiles();
    this.#tables();
    this.#disagreed();
    this.#charts();
  }

  #tiles() {
    const { items, decided, kept, rejected, open_leases: open } = /** @type {Numbers} */ (this.numbers);
    const tiles = [["Images", number(items)], ["Decided", `${number(decided)} (${share(decided, items)})`], ["Kept", `✓ ${number(kept)}`], ["Rejected", `✕ ${number(rejected)}`], ["In somebody's hands", number(open)]];
    byId("tiles").replaceChildren(...tiles.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  }

  /** @returns {import("./charts.js").Bar[]} */
  #funnel() {
    const found = /** @type {Numbers} */ (this.numbers);
    return [
      { label: "In the queue", value: found.items }, { label: "Decided", value: found.decided },
      { label: "✓ Kept", value: found.kept, kind: "good" }, { label: "✕ Rejected", value: found.rejected, kind: "bad" },
      { label: "Caption changed", value: found.captions_changed }, { label: "Crop changed", value: found.crops_changed },
      { label: "Second opinions", value: found.second_opinions },
    ];
  }

  /** @returns {import("./charts.js").Bar[]} */
  #reasons() {
    const { reasons } = /** @type {Numbers} */ (this.numbers);
    return Object.entries(reasons).map(([code, value]) => ({ label: this.labels.get(code) ?? code, value, kind: "bad" }));
  }

  #charts() {
    if (!this.numbers) return;
    const { items, rejected, per_hour: hours } = this.numbers;
    drawBars(byId("funnel"), "From the queue to decisions", this.#funnel(), items);
    this.#chart("reasons", "Nothing was rejected with a reason so far.", this.#reasons().length > 0, (room) => drawBars(room, "Reasons", this.#reasons(), rejected));
    this.#chart("hours", "Nobody has decided anything in the last days.", hours.length > 0, (room) => drawHours(room, hours));
  }

  /** @param {string} id @param {string} nothing @param {boolean} any @param {(room: HTMLElement) => void} draw */
  #chart(id, nothing, any, draw) {
    byId(id).nextElementSibling.hidden = !any;
    if (any) draw(byId(id));
    else byId(id).replaceChildren(element("p", { class: "fine" }, nothing));
  }

  #tables() {
    const { items, rejected, per_hour: hours, people } = /** @type {Numbers} */ (this.numbers);
    fill("funnel-table", this.#funnel().map(({ label, value }) => [label, number(value), share(value, items)]));
    fill("reasons-table", this.#reasons().map(({ label, value }) => [label, number(value), share(value, rejected)]));
    fill("hours-table", hours.map(({ hour, decided }) => [hourName(Date.parse(hour)), number(decided)]));
    fill("people-table", people.map((line) => [line.name, ...lineOf(line)]));
  }

  #disagreed() {
    const { disagreed } = /** @type {Numbers} */ (this.numbers);
    byId("disagreed-none").hidden = disagreed.length > 0;
    byId("disagreed").replaceChildren(...disagreed.map((item) => {
      const image = element("img", { src: `/thumb/${item}/192`, alt: `Image ${item}`, width: 72, height: 72, loading: "lazy" });
      return element("li", {}, element("a", { href: addressOf("/review", { item }), class: "picture" }, image));
    }));
  }

  async #export() {
    byId("export").disabled = true;
    try {
      const { coverage } = await send("/api/export", {});
      say(`Written into the store: decisions for ${percent(coverage)} of the images.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(error.message);
    }
    byId("export").disabled = false;
  }
}

begin((me) => new Overview(me).load());
