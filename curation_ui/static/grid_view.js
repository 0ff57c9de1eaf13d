// A grid of any number of images, of which only what is seen exists.

import { byId, number } from "./dom.js";
import { Row } from "./grid_cell.js";
import { Ranges } from "./grid_ranges.js";
import { Space } from "./grid_space.js";
import { Wheel } from "./grid_wheel.js";

/**
 * @typedef {import("./marks.js").Small} Small
 * @typedef {{card: (at: number) => Small|undefined, want: (first: number, last: number) => void}} Cards
 * @typedef {{onOpen: (at: number) => void, onCursor: (at: number) => void, onSelect: () => void}} Listener
 */

const SLOW_ROWS_PER_S = 12;
const SETTLED_MS = 70;

export class GridView {
  /** @param {Cards} cards @param {Listener} listener */
  constructor(cards, listener) {
    this.cards = cards;
    this.listener = listener;
    this.scroller = byId("grid-scroller");
    this.layer = byId("grid");
    this.selection = new Ranges();
    this.cursor = 0;
    this.anchor = 0;
    this.offset = 0;
    this.written = 0;
    this.frame = 0;
    this.settling = 0;
    this.drawn = { offset: 0, at: 0 };
    /** @type {Row[]} */
    this.rows = [];
    this.space = new Space(0, 1, 1);
    this.selecting = false;
    this.wheel = new Wheel(this.layer, (pixels) => this.scrollBy(pixels), () => this.space);
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.layer.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#heard(event));
    this.layer.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#clicked(event));
    new ResizeObserver(() => this.#resized()).observe(this.scroller);
  }

  /** Shows another order. @param {number} count @param {number} cursor the position to stand at */
  use(count, cursor) {
    this.selection.clear();
    this.cursor = this.anchor = Math.min(Math.max(0, cursor), Math.max(0, count - 1));
    this.#lay(count);
    this.offset = 0;
    this.reveal(this.cursor);
    this.listener.onSelect();
    this.listener.onCursor(this.cursor);
  }

  /** @param {number} count */
  #lay(count) {
    const { clientWidth: width, clientHeight: height } = this.scroller;
    this.space = new Space(count, width, height);
    const { space, layer } = this;
    byId("grid-spacer").style.height = `${space.spacer}px`;
    layer.style.height = `${height}px`;
    layer.style.setProperty("--columns", String(space.columns));
    layer.style.setProperty("--row", `${space.rowHeight}px`);
    layer.classList.toggle("scaled", space.scaled);
    layer.setAttribute("aria-rowcount", String(space.rows));
    layer.setAttribute("aria-colcount", String(space.columns));
    layer.hidden = count === 0;
    if (this.rows[0]?.cells.length === space.columns) return;
    this.rows = [];
    layer.replaceChildren();
  }

  #resized() {
    const focused = this.layer.contains(document.activeElement);
    const first = this.space.rowsAt(this.offset)[0] * this.space.columns;
    this.#lay(this.space.count);
    this.offset = this.space.clamp(Math.floor(first / this.space.columns) * this.space.rowHeight);
    this.#write();
    this.#draw(true);
    if (focused) this.#focus();
  }

  #scrolled() {
    const { scrollTop } = this.scroller;
    if (Math.abs(scrollTop - this.written) < 1.5) return;
    this.written = scrollTop;
    this.offset = this.space.offsetOf(scrollTop);
    this.#soon();
  }

  /** @param {number} pixels of rows, whatever the scrollbar makes of them */
  scrollBy(pixels) {
    this.offset = this.space.clamp(this.offset + pixels);
    this.#write();
    this.#soon();
  }

  #write() {
    this.written = this.space.scrollOf(this.offset);
    this.scroller.scrollTop = this.written;
    this.written = this.scroller.scrollTop;
  }

  #soon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.#draw(false);
    });
  }

  /** Scrolls as little as it takes to see a cell. @param {number} at */
  reveal(at) {
    this.offset = this.space.offsetFor(at, this.offset);
    this.#write();
    this.#draw(true);
  }

  /** Draws again what is seen: cards came, or changed. */
  refresh() {
    this.#draw(true);
  }

  /** @param {boolean} all also the rows that stay */
  #draw(all) {
    const { space, offset } = this;
    if (space.count === 0) return;
    const [first, last] = space.rowsAt(offset);
    const cursorRow = Math.floor(this.cursor / space.columns);
    const wanted = new Set([cursorRow]);
    for (let row = first; row <= last; row++) wanted.add(row);
    const free = [];
    for (const row of this.rows) {
      if (wanted.delete(row.row)) all && this.#fill(row);
      else free.push(row);
    }
    for (const at of wanted) this.#place(free.pop() ?? this.#more(), at);
    for (const row of free) row.stand(-1);
    for (const row of this.rows) if (row.row >= 0) row.move(row.row * space.rowHeight - offset);
    this.#look(first * space.columns, (last + 1) * space.columns - 1);
  }

  #more() {
    const row = new Row(this.space.columns);
    this.rows.push(row);
    this.layer.append(row.root);
    return row;
  }

  /** @param {Row} row @param {number} at */
  #place(row, at) {
    row.stand(at);
    this.#fill(row);
  }

  /** @param {Row} row */
  #fill(row) {
    const { count, columns } = this.space;
    for (const [column, cell] of row.cells.entries()) {
      const at = row.row * columns + column;
      cell.show(at, count, this.cards.card(at), this.selection.has(at));
      cell.root.tabIndex = at === this.cursor ? 0 : -1;
    }
  }

  /** Reads what is seen, unless it flies by. @param {number} first @param {number} last */
  #look(first, last) {
    const now = performance.now();
    const rows = Math.abs(this.offset - this.drawn.offset) / this.space.rowHeight;
    const slow = rows < (SLOW_ROWS_PER_S * Math.max(1, now - this.drawn.at)) / 1000 || rows === 0;
    this.drawn = { offset: this.offset, at: now };
    clearTimeout(this.settling);
    if (slow) this.#load(first, last);
    else this.settling = setTimeout(() => this.#load(first, last), SETTLED_MS);
  }

  /** @param {number} first @param {number} last */
  #load(first, last) {
    this.cards.want(first, last);
    for (const row of this.rows) if (row.row >= 0) for (const cell of row.cells) cell.load();
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const at = this.#at(event.target);
    if (at < 0 || this.wheel.dragged) return;
    if (event.shiftKey) this.#extend(at);
    else if (event.ctrlKey || event.metaKey || this.selecting) this.toggle(at);
    else {
      this.stand(at);
      this.listener.onOpen(at);
    }
  }

  /** @param {EventTarget|null} target @returns {number} the position of a cell, -1 for none */
  #at(target) {
    const root = target instanceof Element ? target.closest(".cell") : null;
    for (const row of this.rows) for (const cell of row.cells) if (cell.root === root) return cell.at;
    return -1;
  }

  /** Moves the cursor, and the focus with it. @param {number} at */
  stand(at) {
    this.cursor = Math.min(Math.max(0, at), this.space.count - 1);
    this.reveal(this.cursor);
    this.#focus();
    this.listener.onCursor(this.cursor);
  }

  #focus() {
    const row = this.rows.find((one) => one.row === Math.floor(this.cursor / this.space.columns));
    row?.cells[this.cursor % this.space.columns].root.focus({ preventScroll: true });
  }

  /** @param {number} at */
  #extend(at) {
    this.selection.clear();
    this.selection.add(Math.min(this.anchor, at), Math.max(this.anchor, at) + 1);
    this.stand(at);
    this.listener.onSelect();
  }

  /** @param {number} at */
  toggle(at) {
    this.selection.toggle(at);
    this.anchor = at;
    this.stand(at);
    this.listener.onSelect();
  }

  /** @param {number} start @param {number} stop */
  select(start, stop) {
    this.selection.clear();
    if (stop > start) this.selection.add(start, stop);
    this.refresh();
    this.listener.onSelect();
  }

  /** @param {KeyboardEvent} event */
  #heard(event) {
    const { space, cursor } = this, page = space.pageRows * space.columns;
    const moves = {
      ArrowLeft: cursor - 1, ArrowRight: cursor + 1, ArrowUp: cursor - space.columns, ArrowDown: cursor + space.columns,
      PageUp: cursor - page, PageDown: cursor + page, Home: 0, End: space.count - 1,
    };
    const to = /** @type {number|undefined} */ (Reflect.get(moves, event.key));
    const control = event.ctrlKey || event.metaKey;
    if (event.altKey) return;
    if (to !== undefined) this.#go(to, event);
    else if (event.key === " " && !event.repeat) this.toggle(cursor);
    else if (event.key === "Enter" && !event.repeat) this.listener.onOpen(cursor);
    else if (control && event.key.toLowerCase() === "a") this.select(0, space.count);
    else if (event.key === "Escape") this.select(0, 0);
    else return;
    event.preventDefault();
  }

  /** @param {number} to @param {KeyboardEvent} event */
  #go(to, event) {
    const { space } = this;
    const row = (/** @type {number} */ at) => Math.floor(at / space.columns);
    // Up and down stay in their column; the last row may be short.
    if (event.key === "ArrowUp" && to < 0) return;
    if (event.key === "ArrowDown" && to >= space.count && row(this.cursor) === space.rows - 1) return;
    const at = Math.min(Math.max(0, to), space.count - 1);
    if (event.shiftKey) return this.#extend(at);
    this.anchor = at;
    this.stand(at);
  }

  /** What is heard of where the cursor stands. @returns {string} */
  where() {
    return this.space.count ? `${number(this.cursor + 1)} of ${number(this.space.count)}` : "none";
  }
}
