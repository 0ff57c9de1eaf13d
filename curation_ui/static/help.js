// All keys, and how to choose others.

import { ApiError, send } from "./api.js";
import { byId, element, say } from "./dom.js";
import { ACTIONS, FIXED, comboOf } from "./keys.js";

const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

/** @param {string} combo for people */
export function comboName(combo) {
  return combo.replace(/Arrow\w+$/, (name) => Reflect.get(NAMES, name) ?? name);
}

export class Help {
  /** @param {import("./keys.js").Keys} keys @param {() => void} onChange told when keys were rebound */
  constructor(keys, onChange) {
    this.keys = keys;
    this.onChange = onChange;
    this.dialog = byId("help");
    /** Action that waits for its new key. */
    this.waiting = "";
    this.leave = () => {};
    this.dialog.addEventListener("close", () => this.leave());
    this.dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#heard(event));
    byId("help-button").addEventListener("click", () => this.open());
    byId("help-close").addEventListener("click", () => this.dialog.close());
    byId("help-reset").addEventListener("click", () => this.#save({}, this.keys.single));
    byId("single-keys").addEventListener("change", () => this.#save(keys.chosen(), byId("single-keys").checked));
    byId("fixed-keys").replaceChildren(...FIXED.flatMap(([key, what]) => [element("dt", {}, key), element("dd", {}, what)]));
  }

  open() {
    if (this.dialog.open) return;
    this.waiting = "";
    this.#draw();
    this.leave = this.keys.push({ actions: { help: () => this.dialog.close() }, below: false });
    this.dialog.showModal();
    byId("help-title").focus();
  }

  #draw() {
    byId("single-keys").checked = this.keys.single;
    const groups = [...new Set(ACTIONS.map(({ group }) => group))];
    byId("help-keys").replaceChildren(...groups.map((group) => {
      const rows = ACTIONS.filter((one) => one.group === group).map((one) => this.#row(one));
      return element("section", {}, element("h3", {}, group), element("ul", {}, ...rows));
    }));
  }

  /** @param {import("./keys.js").Action} action */
  #row({ action, label }) {
    const combo = comboName(this.keys.combos.get(action) ?? "");
    const text = this.waiting === action ? "Press a key" : combo;
    const button = element("button", { type: "button", class: "key", onclick: () => this.#wait(action) }, element("kbd", {}, text));
    button.dataset.action = action;
    button.setAttribute("aria-label", this.waiting === action ? `Press a key for: ${label}. Esc leaves it` : `${label}: ${combo}. Change`);
    return element("li", {}, element("span", {}, label), button);
  }

  /** @param {string} action */
  #wait(action) {
    this.waiting = action;
    this.#redraw(action);
    byId("help-note").textContent = "Press the new key. Esc leaves it as it was.";
  }

  /** Draws the rows anew; the focus stays on one. @param {string} action */
  #redraw(action) {
    this.#draw();
    const button = /** @type {HTMLElement|null} */ (this.dialog.querySelector(`[data-action="${action}"]`));
    button?.focus();
  }

  /** @param {KeyboardEvent} event */
  #heard(event) {
    const combo = comboOf(event);
    if (!this.waiting || !combo || combo === "Tab" || combo === "Shift+Tab") return;
    event.preventDefault();
    event.stopPropagation();
    const action = this.waiting;
    this.waiting = "";
    const owner = this.keys.actions.get(combo);
    if (combo === "Escape") byId("help-note").textContent = "";
    else if (/^(Shift\+)?\d$/.test(combo)) byId("help-note").textContent = "Digits give reasons and captions; choose another key.";
    else if (owner && owner !== action) byId("help-note").textContent = `${comboName(combo)} is taken: ${this.#label(owner)}.`;
    else this.#save({ ...this.keys.chosen(), [action]: combo }, this.keys.single);
    this.#redraw(action);
  }

  /** @param {string} action */
  #label(action) {
    return ACTIONS.find((one) => one.action === action)?.label ?? action;
  }

  /** @param {Object<string, string>} chosen @param {boolean} single */
  async #save(chosen, single) {
    this.keys.choose(chosen);
    this.keys.single = single;
    this.#draw();
    this.onChange();
    try {
      await send("/api/keys", { keys: chosen, single_keys: single }, { method: "PUT" });
      byId("help-note").textContent = "Saved.";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("help-note").textContent = `The keys hold till this page is closed; they were not stored. ${error.message}`;
      say(error.message);
    }
  }
}
