// Two people changed the same caption or crop: what they wrote, what you wrote, what it was before.

import { byId, element } from "./dom.js";
import { difference, marked } from "./diff.js";

/**
 * @typedef {import("./api.js").Card} Card
 * @typedef {import("./send.js").Decision} Decision
 * @typedef {{card: Card, mine: Decision, theirs: {caption: string, by: string, base_caption: string,
 *   crop?: number[]|null}|null}} Conflict
 */

/** @param {number[]|null} box */
function boxText(box) {
  return box ? `left ${box[0]}, top ${box[1]}, right ${box[2]}, bottom ${box[3]}` : "the whole image";
}

export class Conflicts {
  /**
   * @param {import("./keys.js").Keys} keys
   * @param {(conflict: Conflict, text: string|null) => void} onMine told to send the person's own change after all
   */
  constructor(keys, onMine) {
    this.keys = keys;
    this.onMine = onMine;
    /** @type {Conflict[]} */
    this.open = [];
    this.dialog = byId("conflict");
    this.leave = () => {};
    this.dialog.addEventListener("close", () => this.leave());
    byId("conflict-theirs-button").addEventListener("click", () => this.#settle("theirs"));
    byId("conflict-mine-button").addEventListener("click", () => this.#settle("mine"));
    byId("conflict-merge-button").addEventListener("click", () => this.#settle("merge"));
    byId("conflict-later").addEventListener("click", () => this.dialog.close());
    byId("conflict-open").addEventListener("click", () => this.show());
  }

  /** @param {Conflict} conflict */
  add(conflict) {
    this.open.push(conflict);
    this.#banner();
  }

  #banner() {
    byId("conflict-banner").hidden = this.open.length === 0;
    const first = this.open[0];
    if (!first) return;
    const more = this.open.length > 1 ? ` And ${this.open.length - 1} more.` : "";
    const what = first.mine.kind === "crop" ? "crop" : "caption";
    const who = first.theirs?.by ?? first.card.by ?? "Somebody";
    byId("conflict-banner-text").textContent =
      `${who} changed the ${what} of image ${first.card.item} meanwhile; yours is not in force.${more}`;
  }

  /** Shows the oldest one. */
  show() {
    const conflict = this.open[0];
    if (!conflict || this.dialog.open) return;
    const isCaption = conflict.mine.kind === "caption";
    byId("conflict-merged").hidden = !isCaption;
    byId("conflict-merge-button").hidden = !isCaption;
    byId("conflict-image").src = conflict.card.thumb;
    if (isCaption) this.#showCaptions(conflict);
    else this.#showBoxes(conflict);
    const letters = { "key T": () => this.#settle("theirs"), "key M": () => this.#settle("mine") };
    const merge = isCaption ? { "key E": () => byId("conflict-text").focus() } : {};
    this.leave = this.keys.push({ actions: { ...letters, ...merge }, below: false });
    this.dialog.showModal();
    byId("conflict-title").focus();
  }

  /** @param {Conflict} conflict */
  #showCaptions({ card, mine, theirs }) {
    const base = theirs?.base_caption ?? "", their = theirs?.caption ?? card.caption;
    const own = mine.caption ?? "";
    byId("conflict-who").textContent = `Theirs (${theirs?.by ?? "somebody"})`;
    byId("conflict-theirs").replaceChildren(...marked(difference(base, their)));
    byId("conflict-mine").replaceChildren(...marked(difference(base, own)));
    byId("conflict-base").replaceChildren(element("span", {}, base));
    byId("conflict-text").value = own;
  }

  /** @param {Conflict} conflict */
  #showBoxes({ card, mine, theirs }) {
    byId("conflict-who").textContent = `Theirs (${theirs?.by ?? "somebody"})`;
    byId("conflict-theirs").replaceChildren(boxText(theirs?.crop ?? card.crop));
    byId("conflict-mine").replaceChildren(boxText(mine.crop));
    byId("conflict-base").replaceChildren("not shown");
  }

  /** @param {"theirs"|"mine"|"merge"} choice */
  #settle(choice) {
    const conflict = this.open.shift();
    this.dialog.close();
    this.#banner();
    if (!conflict || choice === "theirs") return;
    this.onMine(conflict, choice === "merge" ? byId("conflict-text").value.trim() : conflict.mine.caption);
  }
}
