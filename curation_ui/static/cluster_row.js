// One cluster: its images, the best first, one of them chosen to be kept.

import { element, number } from "./dom.js";
import { labelOf, signOf, wordOf } from "./marks.js";
import { addressOf } from "./session.js";

/**
 * @typedef {import("./marks.js").Small} Small
 * @typedef {{cluster: string, items: Small[], values: (number|null)[], size: number}} Cluster
 */

const SIDE = 128;

export class ClusterRow {
  /** @param {Cluster} cluster @param {number} rank from 0 @param {(row: ClusterRow) => void} onKeep
   * @param {(row: ClusterRow) => void} onChoose */
  constructor(cluster, rank, onKeep, onChoose) {
    this.cluster = cluster;
    this.chosen = Math.max(0, cluster.items.findIndex(({ verdict }) => verdict === "keep"));
    this.status = element("span", { class: "verdict" });
    const keep = element("button", { type: "button", class: "small", onclick: () => onKeep(this) }, "Keep the chosen one, reject the rest");
    const shown = cluster.items.length, all = cluster.size;
    const some = shown < all ? `, ${number(shown)} shown` : "";
    const title = element("h2", { id: `cluster-${rank}` }, `Cluster ${number(rank + 1)}`, element("span", { class: "fine" }, ` ${number(all)} images${some} `), this.status);
    this.buttons = cluster.items.map((card, index) => this.#button(card, index, onChoose));
    const items = cluster.items.map((card, index) => this.#item(card, index));
    this.list = element("ul", { class: "members" }, ...items);
    this.root = element("li", { class: "cluster", "aria-labelledby": `cluster-${rank}` }, element("div", { class: "row between" }, title, keep), this.list);
    this.draw();
  }

  /** @param {Small} card @param {number} index @param {(row: ClusterRow) => void} onChoose */
  #button(card, index, onChoose) {
    const image = element("img", { src: card.thumb, alt: "", width: SIDE, height: SIDE, loading: "lazy", decoding: "async" });
    const sign = element("span", { class: "sign", "aria-hidden": "true" });
    return element("button", { type: "button", class: "member", onclick: () => this.#choose(index, onChoose) }, image, sign);
  }

  /** @param {Small} card @param {number} index */
  #item(card, index) {
    const value = this.cluster.values[index];
    const score = value === null ? "" : ` ${number(value)}`;
    const link = element("a", { href: addressOf("/review", { item: card.item }) }, `Image ${card.item}`);
    return element("li", {}, this.buttons[index], element("p", { class: "fine" }, link, index === 0 ? element("b", {}, score ? " best" : " first") : null, score));
  }

  /** @param {number} index @param {(row: ClusterRow) => void} onChoose */
  #choose(index, onChoose) {
    this.chosen = index;
    this.draw();
    onChoose(this);
  }

  get decided() {
    return this.cluster.items.every(({ verdict }) => verdict !== null);
  }

  draw() {
    for (const [index, button] of this.buttons.entries()) {
      const card = this.cluster.items[index], sign = button.lastElementChild;
      button.tabIndex = index === this.chosen ? 0 : -1;
      button.setAttribute("aria-pressed", String(index === this.chosen));
      button.setAttribute("aria-label", `${index === 0 ? (this.cluster.values[0] === null ? "First. " : "Best. ") : ""}${labelOf(card)}`);
      button.classList.toggle("rejected", card.verdict === "reject");
      if (!sign) continue;
      sign.className = `sign ${card.verdict ?? "none"}`;
      sign.textContent = card.verdict ? `${signOf(card.verdict)} ${wordOf(card.verdict)}` : "";
    }
    this.status.textContent = this.decided ? "✓ decided" : "";
  }

  /** @param {number} by */
  step(by) {
    this.chosen = Math.min(Math.max(0, this.chosen + by), this.buttons.length - 1);
    this.draw();
    this.focus();
  }

  focus() {
    this.buttons[this.chosen].focus({ preventScroll: true });
    this.root.scrollIntoView({ block: "nearest" });
  }
}
