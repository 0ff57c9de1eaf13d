// The caption: reading, correcting, taking one that a model suggests.

import { ApiError, send } from "./api.js";
import { byId, element } from "./dom.js";
import { difference, marked } from "./diff.js";

/** @typedef {import("./api.js").Card} Card */

const COUNT_AFTER_MS = 150;

export class CaptionPane {
  /**
   * @param {import("./api.js").Encoder[]} encoders the student's, with how many tokens each reads
   * @param {{onSave: (text: string, stay: boolean) => void}} listener
   */
  constructor(encoders, listener) {
    this.encoders = encoders;
    this.listener = listener;
    this.pane = byId("caption");
    this.field = byId("caption-text");
    /** @type {Card|null} */
    this.card = null;
    this.base = "";
    /** Unsaved text by item, for when its card is shown again. @type {Map<number, string>} */
    this.drafts = new Map();
    this.counting = 0;
    /** Whether digits take candidates. */
    this.active = false;
    this.field.addEventListener("input", () => this.#edited());
    this.field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    byId("caption-save").addEventListener("click", () => this.save(true));
    byId("caption-cancel").addEventListener("click", () => this.cancel());
  }

  get dirty() {
    return this.card !== null && this.field.value !== this.base;
  }

  /** @param {Card|null} card what is cheap, at once */
  show(card) {
    if (this.card && this.dirty) this.drafts.set(this.card.item, this.field.value);
    else if (this.card) this.drafts.delete(this.card.item);
    clearTimeout(this.counting);
    this.card = card;
    this.field.value = card?.caption ?? "";
    this.base = this.field.value; // the field turns CR LF into LF, which is no change of the person's
    this.field.value = (card && this.drafts.get(card.item)) ?? this.base;
    this.field.disabled = card === null;
    this.#changed();
  }

  /** Shows what may come after the image has been painted. */
  showRest() {
    const card = this.card;
    this.#origin("prompt", card?.prompt && card.prompt !== card.caption ? card.prompt : null);
    const first = card?.caption_original;
    this.#origin("original", first && first !== card.caption && first !== card.prompt ? first : null);
    this.#count(card?.tokens ?? {});
    this.showCandidates();
  }

  /** @param {"prompt"|"original"} which @param {string|null} text */
  #origin(which, text) {
    byId(`caption-${which}`).hidden = text === null;
    byId(`caption-${which}-text`).textContent = text ?? "";
  }

  showCandidates() {
    const candidates = this.candidates();
    byId("candidates").hidden = candidates.length === 0;
    byId("candidate-list").replaceChildren(...candidates.map((candidate, index) => this.#row(candidate, index + 1)));
  }

  /** Suggestions that would change the caption, at most nine. */
  candidates() {
    const card = this.card;
    return (card?.candidates ?? []).filter(({ text }) => text !== card?.caption).slice(0, 9);
  }

  /** @param {import("./api.js").Candidate} candidate @param {number} digit */
  #row({ text, by }, digit) {
    const take = element("button", { type: "button", class: "small", onclick: () => this.use(text) }, "Edit");
    take.setAttribute("aria-label", `Edit suggestion ${digit}`);
    const accept = element("button", { type: "button", class: "small", onclick: () => this.accept(digit) }, "Accept");
    accept.setAttribute("aria-label", `Accept suggestion ${digit} and keep the image`);
    const head = element("div", { class: "who" }, element("kbd", {}, String(digit)), ` ${by} `, accept, take);
    const body = element("p", { dir: "auto" }, ...marked(difference(this.field.value, text)));
    return element("li", {}, head, body);
  }

  /** Takes a suggestion as the caption. @param {number} digit @returns {boolean} whether there is one */
  accept(digit) {
    const candidate = this.candidates()[digit - 1];
    if (!candidate) return false;
    this.listener.onSave(candidate.text, false);
    return true;
  }

  /** Puts a suggestion into the field, to go on from there. @param {string} text */
  use(text) {
    this.field.value = text;
    this.#edited();
    this.field.focus();
  }

  edit() {
    this.field.focus();
    this.field.setSelectionRange(this.field.value.length, this.field.value.length);
  }

  /** @param {boolean} stay on this image, without a decision */
  save(stay) {
    if (this.card) this.listener.onSave(this.dirty ? this.field.value.trim() : this.card.caption, stay);
  }

  cancel() {
    this.field.value = this.base;
    this.#edited();
    this.field.blur();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing || event.repeat) return;
    if (event.key === "Escape") this.cancel();
    else if (event.key === "Enter") this.save(event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Enter") this.field.blur();
  }

  #changed() {
    byId("caption-save").disabled = !this.dirty;
    byId("caption-cancel").disabled = !this.dirty;
  }

  #edited() {
    this.#changed();
    clearTimeout(this.counting);
    this.counting = setTimeout(() => this.#recount(), COUNT_AFTER_MS);
  }

  async #recount() {
    const text = this.field.value;
    this.showCandidates();
    if (this.encoders.length === 0) return;
    try {
      const { tokens } = await send("/api/tokens", { text });
      if (text === this.field.value) this.#count(tokens);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("tokens").replaceChildren(element("li", {}, "Tokens are not counted: the server does not answer."));
    }
  }

  /** @param {Object<string, number>} counts */
  #count(counts) {
    const rows = this.encoders.filter(({ name }) => name in counts).map(({ name, limit }) => {
      const over = counts[name] - limit;
      const text = `${name} ${counts[name]} of ${limit} tokens${over > 0 ? `, ${over} too many` : ""}`;
      return element("li", { class: over > 0 ? "over" : "" }, text);
    });
    byId("tokens").replaceChildren(...rows);
  }
}
