// Choosing a crop: by digit, by arrow keys, by numbers, or by dragging. Nothing is cut; the box is stored.

import { byId, element } from "./dom.js";
import { dragged, inside, moved, scaled, snapped } from "./crop_box.js";

/**
 * @typedef {import("./api.js").Card} Card
 * @typedef {import("./api.js").Box} Box
 */

const COMMON_ASPECTS = [1, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3, 9 / 16];
const STEP = 0.02; // of the width, on each side
const FIELDS = ["left", "top", "width", "height"];

/** @param {number} aspect width over height @returns {string} such as "3:2" */
function aspectName(aspect) {
  for (let height = 1; height <= 32; height++) {
    const width = Math.round(aspect * height);
    if (Math.abs(width / height - aspect) < 0.004 * aspect) return `${width}:${height}`;
  }
  return aspect.toFixed(3);
}

export class CropMode {
  /**
   * @param {import("./stage.js").Stage} stage
   * @param {import("./keys.js").Keys} keys
   * @param {{aspects: number[], onSave: (card: Card, box: Box) => void}} options
   */
  constructor(stage, keys, { aspects, onSave }) {
    this.stage = stage;
    this.keys = keys;
    this.onSave = onSave;
    /** @type {Card|null} */
    this.card = null;
    /** @type {Box} */
    this.box = [0, 0, 1, 1];
    /** @type {number|null} */
    this.aspect = null;
    this.leave = () => {};
    this.cropper = byId("cropper");
    this.#listen(aspects.length ? aspects : COMMON_ASPECTS);
  }

  /** @param {number[]} aspects */
  #listen(aspects) {
    const choice = byId("crop-aspect");
    choice.append(...aspects.map((aspect) => element("option", { value: String(aspect) }, aspectName(aspect))));
    choice.addEventListener("change", () => this.#chooseAspect(Number(choice.value) || null));
    for (const name of FIELDS) byId(`crop-${name}`).addEventListener("change", () => this.#fromFields());
    byId("crop-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#fromFields();
      this.save();
    });
    byId("crop-form").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.close();
    });
    byId("crop-whole").addEventListener("click", () => this.#set(this.#whole()));
    byId("crop-cancel").addEventListener("click", () => this.close());
    this.cropper.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.#drag(event));
    new ResizeObserver(() => this.#place()).observe(byId("frame"));
  }

  /** @param {Card} card */
  open(card) {
    this.card = card;
    if (this.stage.zoomed) this.stage.toggleZoom();
    byId("frame").classList.add("cropping");
    byId("panel").classList.add("cropping");
    for (const id of ["crop-form", "cropper"]) byId(id).hidden = false;
    byId("crop-width").max = card.width;
    byId("crop-height").max = card.height;
    byId("crop-suggestions").replaceChildren(...card.crops.slice(0, 9).map(({ box, by }, index) => {
      const take = () => this.#set(box);
      return element("button", { type: "button", class: "small", onclick: take }, element("kbd", {}, String(index + 1)), ` ${by}`);
    }));
    this.#set(card.crop ?? this.#whole());
    this.leave = this.keys.push(this.#layer());
    this.stage.place();
    byId("crop-save").focus({ preventScroll: true });
    byId("crop-form").scrollIntoView({ block: "nearest" });
  }

  close() {
    if (!this.card) return;
    this.leave();
    this.card = null;
    byId("frame").classList.remove("cropping");
    byId("panel").classList.remove("cropping");
    for (const id of ["crop-form", "cropper"]) byId(id).hidden = true;
    this.stage.place();
    byId("crop-button").focus({ preventScroll: true });
  }

  save() {
    const card = this.card;
    if (!card) return;
    this.close();
    this.onSave(card, this.box);
  }

  /** @returns {import("./keys.js").Layer} */
  #layer() {
    const actions = { "key Enter": () => this.save(), "key Escape": () => this.close() };
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    for (const [key, [dx, dy]] of Object.entries(arrows)) {
      Reflect.set(actions, `key ${key}`, () => this.#move(dx, dy));
      Reflect.set(actions, `key Shift+${key}`, () => this.#move(10 * dx, 10 * dy));
    }
    for (const [key, sign] of [["+", 1], ["=", 1], ["-", -1]]) {
      Reflect.set(actions, `key ${key}`, () => this.#scale(Number(sign)));
    }
    Reflect.set(actions, "crop", () => this.close());
    const digit = (/** @type {number} */ value) => this.#suggestion(value);
    return { actions, digit, below: false, repeats: true };
  }

  /** @param {number} digit @returns {boolean} */
  #suggestion(digit) {
    const box = digit === 0 ? this.#whole() : this.card?.crops[digit - 1]?.box;
    if (box) this.#set(box);
    return Boolean(box);
  }

  /** @returns {Box} */
  #whole() {
    return [0, 0, this.card?.width ?? 1, this.card?.height ?? 1];
  }

  /** @param {number} dx @param {number} dy */
  #move(dx, dy) {
    if (this.card) this.#set(moved(this.box, dx, dy, this.card));
  }

  /** @param {number} sign 1 or -1 */
  #scale(sign) {
    const by = Math.max(1, Math.round((this.box[2] - this.box[0]) * STEP));
    if (this.card) this.#set(scaled(this.box, sign * by, this.aspect, this.card));
  }

  /** @param {number|null} aspect */
  #chooseAspect(aspect) {
    this.aspect = aspect;
    if (aspect && this.card) this.#set(snapped(this.box, aspect, this.card));
  }

  #fromFields() {
    if (!this.card) return;
    const [left, top, width, height] = FIELDS.map((name) => byId(`crop-${name}`).valueAsNumber);
    const all = [left, top, width, height];
    if (all.every(Number.isFinite)) this.#set([left, top, left + width, top + height]);
    else this.#set(this.box);
  }

  /** @param {Box} box */
  #set(box) {
    if (!this.card) return;
    this.box = inside(box, this.card);
    const [left, top, right, bottom] = this.box;
    for (const [name, value] of Object.entries({ left, top, width: right - left, height: bottom - top })) {
      byId(`crop-${name}`).value = String(value);
    }
    byId("crop-shape").textContent = `Aspect ${((right - left) / (bottom - top)).toFixed(3)}`;
    this.#place();
  }

  #place() {
    if (!this.card) return;
    const { scale, x, y } = this.stage.layout();
    const [left, top, right, bottom] = this.box;
    this.cropper.style.width = `${(right - left) * scale}px`;
    this.cropper.style.height = `${(bottom - top) * scale}px`;
    this.cropper.style.transform = `translate(${x + left * scale}px, ${y + top * scale}px)`;
  }

  /** Moves the box, or from a corner its size, until the pointer is let go. @param {PointerEvent} down */
  #drag(down) {
    const card = this.card;
    if (!card || down.button !== 0) return;
    down.preventDefault();
    const corner = /** @type {HTMLElement} */ (down.target).dataset.corner ?? "";
    const [left, top, right, bottom] = this.box;
    const { scale } = this.stage.layout();
    const move = (/** @type {PointerEvent} */ event) => {
      const dx = (event.clientX - down.clientX) / scale, dy = (event.clientY - down.clientY) / scale;
      if (!corner) return this.#set(moved([left, top, right, bottom], dx, dy, card));
      const [fixedX, x] = corner.includes("l") ? [right, left + dx] : [left, right + dx];
      const [fixedY, y] = corner.includes("t") ? [bottom, top + dy] : [top, bottom + dy];
      this.#set(dragged(fixedX, fixedY, x, y, this.aspect, card));
    };
    const stop = new AbortController();
    const end = () => stop.abort();
    this.cropper.setPointerCapture(down.pointerId);
    this.cropper.addEventListener("pointermove", move, { signal: stop.signal });
    this.cropper.addEventListener("pointerup", end, { signal: stop.signal });
    this.cropper.addEventListener("pointercancel", end, { signal: stop.signal });
  }
}
