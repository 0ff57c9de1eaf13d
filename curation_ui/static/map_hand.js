// What a hand does on the plane: draw around points, move it, look closer.

import { byId } from "./dom.js";

const STEP_PX = 3; // between two corners of an outline
const CLOSER = 1.5;
const PAN = 0.1;

export class Hand {
  /** @param {any} map the page */
  constructor(map) {
    this.map = map;
    this.drawing = true;
    /** @type {number[]} corners on the plane, while one is being drawn */
    this.corners = [];
    /** @type {{x: number, y: number, moved: boolean}|null} */
    this.held = null;
    const canvas = byId("points");
    canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.#down(event));
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#move(event));
    canvas.addEventListener("pointerup", (/** @type {PointerEvent} */ event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => this.#drop());
    canvas.addEventListener("wheel", (/** @type {WheelEvent} */ event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    byId("zoom-in").addEventListener("click", () => map.zoom(CLOSER));
    byId("zoom-out").addEventListener("click", () => map.zoom(1 / CLOSER));
    byId("zoom-all").addEventListener("click", () => map.whole());
    byId("draw-mode").addEventListener("click", () => this.#mode(true));
    byId("move-mode").addEventListener("click", () => this.#mode(false));
  }

  /** @param {boolean} drawing */
  #mode(drawing) {
    this.drawing = drawing;
    byId("draw-mode").setAttribute("aria-pressed", String(drawing));
    byId("move-mode").setAttribute("aria-pressed", String(!drawing));
    byId("room").classList.toggle("moving", !drawing);
  }

  /** @param {MouseEvent} event @returns {[number, number]} in pixels of the canvas */
  #pixel(event) {
    const box = byId("points").getBoundingClientRect(), ratio = this.map.view.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0) return;
    byId("points").setPointerCapture(event.pointerId);
    const [x, y] = this.#pixel(event);
    this.held = { x, y, moved: false };
    this.corners = this.drawing ? this.map.at(x, y) : [];
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const { held } = this;
    if (!held) return;
    const [x, y] = this.#pixel(event);
    if (Math.hypot(x - held.x, y - held.y) < STEP_PX) return;
    if (this.drawing) {
      this.corners.push(...this.map.at(x, y));
      this.outline(this.corners);
    } else this.map.pan(held.x - x, held.y - y);
    this.held = { x, y, moved: true };
  }

  /** @param {PointerEvent} event */
  #up(event) {
    const { held, corners } = this;
    this.#drop();
    if (!held) return;
    const { view } = this.map, [x, y] = this.#pixel(event);
    if (this.drawing) this.map.choose(corners);
    else if (!held.moved) this.map.pan(x - view.width / 2, y - view.height / 2);
  }

  #drop() {
    this.held = null;
    this.corners = [];
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    this.map.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...this.#pixel(event));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { map } = this, wide = map.view.width * PAN, tall = map.view.height * PAN;
    /** @type {Object<string, () => void>} */
    const keys = {
      ArrowLeft: () => map.pan(-wide, 0), ArrowRight: () => map.pan(wide, 0), ArrowUp: () => map.pan(0, -tall), ArrowDown: () => map.pan(0, tall),
      "+": () => map.zoom(CLOSER), "=": () => map.zoom(CLOSER), "-": () => map.zoom(1 / CLOSER), 0: () => map.whole(), Escape: () => map.choose([]),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  /** Draws an area's edge. @param {number[]} area corners on the plane */
  outline(area) {
    const context = byId("lasso").getContext("2d"), { view } = this.map;
    context.clearRect(0, 0, view.width, view.height);
    if (area.length < 4) return;
    context.beginPath();
    for (let corner = 0; corner < area.length; corner += 2) context.lineTo((area[corner] - view.left) * view.sx, (view.top - area[corner + 1]) * view.sy);
    context.closePath();
    context.lineWidth = 2;
    context.strokeStyle = getComputedStyle(byId("room")).color;
    context.setLineDash([8, 5]);
    context.stroke();
  }
}
