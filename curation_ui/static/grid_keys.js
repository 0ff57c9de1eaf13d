// The keys of a page in a dialog that exists only while it is open.

import { byId, element } from "./dom.js";
import { comboName } from "./help.js";

export class KeyList {
  /** @param {import("./keys.js").Keys} keys @param {[string, string][]} actions action and what it does
   * @param {[string, string][]} fixed key and what it does */
  constructor(keys, actions, fixed) {
    this.keys = keys;
    this.actions = actions;
    this.fixed = fixed;
    this.dialog = byId("help");
    this.leave = () => {};
    byId("help-button").addEventListener("click", () => this.open());
    byId("help-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => {
      byId("help-list").replaceChildren();
      this.leave();
    });
    for (const name of document.querySelectorAll("kbd[data-for]")) name.textContent = this.#name(/** @type {HTMLElement} */ (name).dataset.for ?? "");
  }

  /** @param {string} action */
  #name(action) {
    return comboName(this.keys.combos.get(action) ?? "");
  }

  open() {
    if (this.dialog.open) return;
    const lines = [...this.actions.map(([action, what]) => [this.#name(action), what]), ...this.fixed];
    const said = this.keys.single ? [] : [["Single keys", "are off: switch them on among the keys of the review page"]];
    byId("help-list").replaceChildren(...[...lines, ...said].flatMap(([key, what]) => [element("dt", {}, key), element("dd", {}, what)]));
    this.leave = this.keys.push({ actions: { help: () => this.dialog.close() }, below: false });
    this.dialog.showModal();
    byId("help-title").focus();
  }
}
