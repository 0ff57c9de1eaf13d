// A change of many images: what it would do, with examples, then done; one undo takes it back.

import { ApiError, uuid } from "./api.js";
import { byId, element, number, say } from "./dom.js";

/** @typedef {{title: string, verb: string, body: object}} Plan `verb`: "Keep", "Reject" ... */

const VERDICTS = { keep: "✓ kept", reject: "✕ rejected" };

/** @param {string|null} value a verdict, a caption, or nothing @param {boolean} isCaption */
function shown(value, isCaption) {
  if (isCaption) return value ?? "";
  return value ? Reflect.get(VERDICTS, value) ?? value : "undecided";
}

export class BatchDialog {
  /** @param {import("./desk.js").Desk} desk @param {import("./keys.js").Keys} keys */
  constructor(desk, keys) {
    this.desk = desk;
    this.keys = keys;
    this.dialog = byId("batch");
    /** @type {Plan} */
    this.plan = { title: "", verb: "", body: {} };
    this.uuid = "";
    this.leave = () => {};
    this.dialog.addEventListener("close", () => this.leave());
    byId("batch-cancel").addEventListener("click", () => this.dialog.close());
    byId("batch-do").addEventListener("click", () => this.#do());
    byId("batch-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#preview();
    });
    for (const field of ["batch-find", "batch-replace"]) byId(field).addEventListener("input", () => this.#clear());
  }

  /** @param {Plan} plan @param {string} opener id of the button to come back to, "" for where the focus was */
  open(plan, opener = "") {
    if (this.dialog.open) return;
    this.plan = plan;
    this.uuid = uuid();
    this.#clear();
    byId("batch-title").textContent = plan.title;
    const isCaption = this.#isCaption;
    byId("batch-form").hidden = !isCaption;
    const dropKeys = this.keys.push({ actions: {}, below: false });
    const before = /** @type {HTMLElement|null} */ (opener ? byId(opener) : document.activeElement);
    this.leave = () => {
      dropKeys();
      before?.focus({ preventScroll: true });
    };
    this.dialog.showModal();
    byId(isCaption ? "batch-find" : "batch-title").focus();
    if (!isCaption) this.#preview();
  }

  get #isCaption() {
    return /** @type {any} */ (this.plan.body).kind === "caption";
  }

  get #body() {
    const words = this.#isCaption ? { find: byId("batch-find").value, replace: byId("batch-replace").value } : {};
    return { ...this.plan.body, ...words };
  }

  #clear() {
    byId("batch-do").hidden = true;
    byId("batch-count").textContent = "";
    byId("batch-error").textContent = "";
    byId("batch-table").hidden = true;
    byId("batch-rows").replaceChildren();
  }

  async #preview() {
    const { uuid: mine } = this;
    this.#clear();
    byId("batch-count").textContent = "Counting.";
    try {
      const found = await this.desk.preview(this.#body);
      if (this.uuid === mine && this.dialog.open) this.#draw(found);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.uuid === mine) this.#fail(error.message);
    }
  }

  /** @param {string} sentence */
  #fail(sentence) {
    byId("batch-count").textContent = "";
    byId("batch-error").textContent = sentence;
  }

  /** @param {{count: number, changes: number, examples: {item: number, before: string|null, after: string|null}[]}} found */
  #draw({ count, changes, examples }) {
    const rest = count - changes, isCaption = this.#isCaption;
    const stay = rest > 0 ? ` ${number(rest)} ${rest === 1 ? "stays" : "stay"} as ${rest === 1 ? "it is" : "they are"}.` : "";
    byId("batch-count").textContent = `${number(changes)} of ${number(count)} images change.${stay}`;
    byId("batch-table").hidden = examples.length === 0;
    byId("batch-rows").replaceChildren(...examples.map(({ item, before, after }) => {
      const image = element("img", { src: `/thumb/${item}/192`, alt: "", width: 40, height: 40, loading: "lazy" });
      const cells = [before, after].map((value) => element("td", { dir: "auto" }, shown(value, isCaption)));
      return element("tr", {}, element("th", { scope: "row" }, image, ` ${item}`), ...cells);
    }));
    const button = byId("batch-do");
    button.hidden = changes === 0;
    button.disabled = false;
    button.textContent = `${this.plan.verb} ${number(changes)}`;
    if (changes > 0 && !isCaption) button.focus();
  }

  async #do() {
    const button = byId("batch-do");
    button.disabled = true;
    byId("batch-error").textContent = "";
    byId("batch-count").textContent = "Working.";
    try {
      const { count, kept } = await this.desk.batch({ ...this.#body, uuid: this.uuid });
      this.dialog.close();
      const others = kept ? ` ${number(kept)} of them were decided by others since you chose: there yours is a second opinion.` : "";
      say(`${this.plan.title}: done for ${number(count)}.${others} Undo takes all of it back.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#fail(error.message); // asking again with the same uuid does nothing twice
      button.disabled = false;
    }
  }
}
