// Wheel and finger over a grid whose scrollbar is too coarse for them.

const LINE_PX = 40;
const DRAG_PX = 8;
const SLOWER = 0.94; // a flung grid's speed, frame by frame
const STILL_PX = 0.5;

export class Wheel {
  /** @param {HTMLElement} layer @param {(pixels: number) => void} scrollBy
   * @param {() => import("./grid_space.js").Space} space */
  constructor(layer, scrollBy, space) {
    this.scrollBy = scrollBy;
    this.space = space;
    /** Whether the finger that lies on the grid, or was just lifted, has moved it. */
    this.dragged = false;
    this.y = 0;
    this.speed = 0;
    this.flying = 0;
    layer.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    layer.addEventListener("pointerdown", (event) => this.#down(event));
    layer.addEventListener("pointermove", (event) => this.#move(event));
    layer.addEventListener("pointerup", (event) => this.#up(event));
    layer.addEventListener("pointercancel", (event) => this.#up(event));
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    if (event.ctrlKey || event.shiftKey || !this.space().scaled) return;
    event.preventDefault();
    const unit = [1, LINE_PX, this.space().height][event.deltaMode] ?? 1;
    this.scrollBy(event.deltaY * unit);
  }

  /** @param {PointerEvent} event */
  #down(event) {
    cancelAnimationFrame(this.flying);
    this.dragged = false;
    this.y = event.clientY;
    this.speed = 0;
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (event.pointerType !== "touch" || !this.space().scaled) return;
    const moved = this.y - event.clientY;
    if (!this.dragged && Math.abs(moved) < DRAG_PX) return;
    this.dragged = true;
    this.y = event.clientY;
    this.speed = moved;
    this.scrollBy(moved);
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (event.pointerType !== "touch" || !this.dragged) return;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const fly = () => {
      this.speed *= SLOWER;
      this.scrollBy(this.speed);
      if (Math.abs(this.speed) > STILL_PX) this.flying = requestAnimationFrame(fly);
    };
    this.flying = requestAnimationFrame(fly);
  }
}
