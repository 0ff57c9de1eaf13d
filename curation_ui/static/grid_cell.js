// One cell and one row of the grid; used again and again for other images.

import { element, number } from "./dom.js";
import { labelOf, signOf } from "./marks.js";

/** @typedef {import("./marks.js").Small} Small */

const RETRY_MS = 1500;

export class Cell {
  /** @param {number} column */
  constructor(column) {
    this.image = element("img", { alt: "", decoding: "async", draggable: false });
    this.sign = element("span", { class: "sign", "aria-hidden": "true" });
    this.line = element("span", { class: "line", "aria-hidden": "true" });
    this.root = element("div", { class: "cell", role: "gridcell", tabIndex: -1, "aria-colindex": String(column + 1) }, this.image, this.sign, this.line);
    this.at = -1;
    this.thumb = "";
    this.image.addEventListener("load", () => this.root.classList.add("loaded"));
    this.image.addEventListener("error", () => this.#failed());
  }

  /** @param {number} at @param {number} count @param {Small|undefined} card @param {boolean} selected */
  show(at, count, card, selected) {
    const { root } = this;
    this.at = at;
    root.hidden = at >= count;
    root.dataset.item = card ? String(card.item) : "";
    root.setAttribute("aria-selected", String(selected));
    root.setAttribute("aria-label", card ? `${number(at + 1)} of ${number(count)}: ${labelOf(card)}` : `${number(at + 1)} of ${number(count)}, loading`);
    this.sign.className = `sign ${card?.verdict ?? "none"}`;
    this.sign.textContent = card ? signOf(card.verdict) : "";
    this.line.dataset.copies = card && card.cluster_size > 1 ? `×${card.cluster_size} ` : "";
    this.line.textContent = card?.caption ?? "";
    this.thumb = card?.thumb ?? "";
    if (this.image.dataset.thumb !== this.thumb) this.clear();
  }

  /** Takes the image away, and ends its request. */
  clear() {
    if (!this.image.hasAttribute("src")) return;
    this.image.removeAttribute("src");
    this.image.dataset.thumb = "";
    this.root.classList.remove("loaded");
  }

  /** Asks for the image, now that somebody looks. */
  load() {
    if (!this.thumb || this.image.dataset.thumb === this.thumb) return;
    this.image.dataset.thumb = this.thumb;
    this.image.src = this.thumb;
  }

  #failed() {
    const { thumb } = this;
    setTimeout(() => {
      if (this.thumb !== thumb || !thumb) return;
      this.clear();
      this.load();
    }, RETRY_MS);
  }
}

export class Row {
  /** @param {number} columns */
  constructor(columns) {
    this.cells = Array.from({ length: columns }, (_, column) => new Cell(column));
    this.root = element("div", { class: "cells", role: "row" }, ...this.cells.map((cell) => cell.root));
    this.row = -1;
  }

  /** @param {number} row where it stands from now on; -1 for nowhere */
  stand(row) {
    this.row = row;
    this.root.hidden = row < 0;
    this.root.setAttribute("aria-rowindex", String(row + 1));
  }

  /** @param {number} y */
  move(y) {
    this.root.style.transform = `translateY(${y}px)`;
  }
}
