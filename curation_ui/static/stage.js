// The large image: shown decoded, zoomed to its own pixels, with its crop.

import { byId, element } from "./dom.js";
import { isWhole } from "./crop_box.js";

/** @typedef {import("./api.js").Card} Card */

const PAN = 0.1;
const LARGEST = 8; // times an image's own size

export class Stage {
  /** @param {import("./images.js").DecodedWindow} images */
  constructor(images) {
    this.images = images;
    this.frame = byId("frame");
    this.outline = byId("outline");
    /** @type {Card|null} */
    this.card = null;
    this.zoomed = false;
    // Where the zoom looks, and where the pointer is over the image: fractions of width and height.
    this.focus = { x: 0.5, y: 0.5 };
    this.pointer = { x: 0.5, y: 0.5 };
    this.frame.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#follow(event));
    new ResizeObserver(() => this.place()).observe(this.frame);
  }

  /** @param {Card|null} card shown now, or as soon as its image is decoded */
  show(card) {
    this.card = card;
    const entry = card ? this.images.find(card.item) : undefined;
    const image = entry?.state === "ready" ? entry.image : null;
    if (image && card) image.alt = `Image ${card.item}`;
    const shown = image ?? (card ? this.#placeholder(entry?.state === "failed") : null);
    this.frame.replaceChildren(...(shown ? [shown] : []));
    this.place();
  }

  /** @param {boolean} failed */
  #placeholder(failed) {
    if (!failed) return element("p", { class: "waiting" }, "Loading the image");
    const again = () => this.card && this.images.retry(this.card.item);
    const button = element("button", { type: "button", onclick: again }, "Try again");
    return element("div", { class: "waiting" }, "This image could not be shown. ", button);
  }

  /** The scale of the image as shown, and where it lies in the frame. @returns {{scale: number, x: number, y: number}} */
  layout() {
    const { width, height } = this.card ?? { width: 1, height: 1 };
    const room = { width: this.frame.clientWidth, height: this.frame.clientHeight };
    const fit = Math.min(room.width / width, room.height / height, LARGEST);
    if (!this.zoomed) {
      return { scale: fit, x: (room.width - width * fit) / 2, y: (room.height - height * fit) / 2 };
    }
    const scale = 1 / devicePixelRatio;
    const along = (/** @type {number} */ free, /** @type {number} */ where) => (free > 0 ? free / 2 : free * where);
    const x = along(room.width - width * scale, this.focus.x);
    return { scale, x, y: along(room.height - height * scale, this.focus.y) };
  }

  /** Puts image and crop outline where they belong. */
  place() {
    if (!this.card) {
      this.outline.hidden = true;
      return;
    }
    const { scale, x, y } = this.layout();
    const image = this.frame.querySelector("img");
    if (image) {
      image.style.width = `${this.card.width * scale}px`;
      image.style.height = `${this.card.height * scale}px`;
      image.style.transform = `translate(${x}px, ${y}px)`;
    }
    this.#outlineCrop({ scale, x, y });
  }

  /** @param {{scale: number, x: number, y: number}} layout */
  #outlineCrop({ scale, x, y }) {
    const card = /** @type {Card} */ (this.card);
    this.outline.hidden = isWhole(card.crop, card) || this.frame.classList.contains("cropping");
    if (this.outline.hidden || !card.crop) return;
    const [left, top, right, bottom] = card.crop;
    this.outline.style.width = `${(right - left) * scale}px`;
    this.outline.style.height = `${(bottom - top) * scale}px`;
    this.outline.style.transform = `translate(${x + left * scale}px, ${y + top * scale}px)`;
  }

  /** To the image's own pixels around the pointer, or back to the whole. @returns {boolean} whether zoomed now */
  toggleZoom() {
    this.zoomed = !this.zoomed;
    this.focus = { ...this.pointer };
    this.frame.classList.toggle("zoomed", this.zoomed);
    this.place();
    return this.zoomed;
  }

  /** Moves the view. @param {number} dx @param {number} dy in steps */
  pan(dx, dy) {
    this.focus.x = Math.min(1, Math.max(0, this.focus.x + dx * PAN));
    this.focus.y = Math.min(1, Math.max(0, this.focus.y + dy * PAN));
    this.place();
  }

  /** @param {PointerEvent} event */
  #follow(event) {
    if (!this.card) return;
    const box = this.frame.getBoundingClientRect();
    const inFrame = { x: event.clientX - box.left, y: event.clientY - box.top };
    if (this.zoomed) {
      this.focus = { x: inFrame.x / box.width, y: inFrame.y / box.height };
      this.place();
      return;
    }
    const { scale, x, y } = this.layout();
    const part = (/** @type {number} */ value) => Math.min(1, Math.max(0, value));
    this.pointer = {
      x: part((inFrame.x - x) / (this.card.width * scale)),
      y: part((inFrame.y - y) / (this.card.height * scale)),
    };
  }
}
