// A plane of points: look around, choose an area, take its images to the grid.

import { ApiError, get, getBytes } from "./api.js";
import { byId, element, number, say } from "./dom.js";
import { inside, rectangle, span, tidy } from "./map_area.js";
import { Hand } from "./map_hand.js";
import { inks, paint, swatch } from "./map_paint.js";
import { addressOf } from "./session.js";

const SOME = 12;
const MARGIN = 0.04;
const FIELDS = ["x-from", "x-to", "y-from", "y-to"];

class MapPage {
  constructor() {
    this.points = { x: new Float32Array(), y: new Float32Array() };
    this.labels = new Uint8Array();
    /** @type {string[]} */
    this.names = [];
    /** @type {Uint8Array|null} */
    this.chosen = null;
    /** @type {number[]} */
    this.area = [];
    this.canvas = byId("points");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.view = { width: 1, height: 1, left: 0, top: 0, sx: 1, sy: 1 };
    this.frame = 0;
    this.hand = new Hand(this);
    byId("plane").addEventListener("change", () => this.#load());
    byId("color").addEventListener("change", () => this.#load());
    byId("select-none").addEventListener("click", () => this.choose([]));
    byId("to-grid").addEventListener("click", () => this.#toGrid());
    byId("area").addEventListener("submit", (/** @type {Event} */ event) => this.#typed(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#recolor());
    new ResizeObserver(() => this.#resized()).observe(byId("room"));
  }

  /** @param {string[]} planes */
  async begin(planes) {
    const { columns } = await get("/api/columns");
    byId("plane").append(...planes.map((name) => element("option", { value: name }, name)));
    const colorable = columns.filter((/** @type {any} */ { type, values }) => type === "number" || type === "bool" || values.length > 1);
    byId("color").append(...colorable.map((/** @type {{name: string}} */ { name }) => element("option", { value: name }, name)));
    byId("choices").hidden = false;
    byId("map").hidden = false;
    this.#resized();
    await this.#load();
  }

  async #load() {
    const plane = byId("plane").value, by = byId("color").value;
    try {
      if (this.plane !== plane) await this.#readPoints(plane);
      await this.#readColors(by);
      byId("trouble").hidden = true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("trouble").hidden = false;
      byId("trouble").textContent = error.message;
      return;
    }
    this.#recolor();
  }

  /** @param {string} plane */
  async #readPoints(plane) {
    const bytes = await getBytes(`/api/map/${encodeURIComponent(plane)}`);
    const count = new DataView(bytes).getUint32(0, true);
    this.points = { x: new Float32Array(bytes, 4, count), y: new Float32Array(bytes, 4 + 4 * count, count) };
    this.labels = new Uint8Array(count);
    this.plane = plane;
    this.choose([]);
    this.whole();
    this.#fields([...around(this.points.x), ...around(this.points.y)]);
  }

  /** @param {string} by */
  async #readColors(by) {
    const { labels } = await get(`/api/colors/${encodeURIComponent(by)}/labels`);
    this.labels = new Uint8Array(await getBytes(`/api/colors/${encodeURIComponent(by)}`));
    this.names = labels;
  }

  #recolor() {
    this.colors = inks(byId("color").value, this.names.length, this.context);
    this.#legend();
    this.redraw();
  }

  /** How many of each label there are, and how many of these are chosen. */
  #legend() {
    const all = new Uint32Array(this.names.length + 1), chosen = new Uint32Array(this.names.length + 1);
    for (let at = 0; at < this.labels.length; at++) {
      const label = Math.min(this.labels[at], this.names.length);
      all[label]++;
      if (this.chosen?.[at]) chosen[label]++;
    }
    const lines = [...this.names, "without a value"].map((name, label) => {
      const count = this.chosen ? `${number(chosen[label])} of ${number(all[label])}` : number(all[label]);
      return element("li", {}, swatch(label, this.colors[label], this.points.x.length), element("span", { dir: "auto" }, name), element("span", { class: "fine" }, count));
    });
    byId("legend").replaceChildren(...lines.filter((_, label) => label < this.names.length || all[label] > 0));
  }

  #resized() {
    const room = byId("room"), ratio = Math.min(devicePixelRatio, 2);
    const width = Math.max(1, Math.round(room.clientWidth * ratio)), height = Math.max(1, Math.round(room.clientHeight * ratio));
    if (width === this.view.width && height === this.view.height) return;
    const { sx, sy } = this.view, grown = { x: width / this.view.width, y: height / this.view.height };
    for (const canvas of [this.canvas, byId("lasso")]) Object.assign(canvas, { width, height });
    Object.assign(this.view, { width, height, sx: sx * grown.x, sy: sy * grown.y });
    this.redraw();
  }

  /** Shows every point. */
  whole() {
    const [left, right] = span(this.points.x), [low, high] = span(this.points.y);
    const wide = (right - left || 1) * (1 + 2 * MARGIN), tall = (high - low || 1) * (1 + 2 * MARGIN);
    const { width, height } = this.view;
    Object.assign(this.view, { sx: width / wide, sy: height / tall, left: left - wide * MARGIN, top: high + tall * MARGIN });
    this.redraw();
  }

  /** @param {number} times @param {number} px what stays where it is @param {number} py */
  zoom(times, px = this.view.width / 2, py = this.view.height / 2) {
    const { view } = this, [x, y] = this.at(px, py);
    view.sx *= times;
    view.sy *= times;
    view.left = x - px / view.sx;
    view.top = y + py / view.sy;
    this.redraw();
  }

  /** @param {number} dx @param {number} dy pixels */
  pan(dx, dy) {
    this.view.left += dx / this.view.sx;
    this.view.top -= dy / this.view.sy;
    this.redraw();
  }

  /** The place on the plane at a pixel. @param {number} px @param {number} py @returns {[number, number]} */
  at(px, py) {
    return [this.view.left + px / this.view.sx, this.view.top - py / this.view.sy];
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.colors) return;
      paint(this.context, this.view, this.points, this.labels, this.colors, this.chosen);
      this.hand.outline(this.area);
    });
  }

  /** @param {number[]} area corners, none to choose nothing */
  choose(area) {
    this.area = area.length >= 6 ? tidy(area) : [];
    this.chosen = this.area.length ? inside(this.points, this.area) : null;
    const items = this.#some();
    const count = this.chosen?.reduce((sum, one) => sum + one, 0) ?? 0;
    byId("selected").textContent = this.chosen ? `${number(count)} selected` : "None selected";
    byId("to-grid").disabled = count === 0;
    byId("select-none").disabled = this.chosen === null;
    byId("some").replaceChildren(...items.map((item) => {
      const image = element("img", { src: `/thumb/${item}/192`, alt: `Image ${item}`, width: 56, height: 56, loading: "lazy" });
      return element("li", {}, element("a", { href: addressOf("/review", { item }), class: "thumb picture" }, image));
    }));
    if (this.chosen) {
      this.#fields([...span(Float32Array.from(this.area.filter((_, at) => at % 2 === 0))), ...span(Float32Array.from(this.area.filter((_, at) => at % 2 === 1)))]);
      say(`${number(count)} selected.`);
    }
    if (this.colors) this.#legend();
    this.redraw();
  }

  /** Some of the chosen items, from all over. @returns {number[]} */
  #some() {
    const items = [];
    for (let at = 0; at < (this.chosen?.length ?? 0); at++) if (this.chosen?.[at]) items.push(at);
    const every = Math.max(1, items.length / SOME);
    return Array.from({ length: Math.min(SOME, items.length) }, (_, index) => items[Math.floor(index * every)]);
  }

  /** @param {number[]} values */
  #fields(values) {
    for (const [index, id] of FIELDS.entries()) byId(id).value = String(Number(values[index].toPrecision(6)));
  }

  /** @param {Event} event */
  #typed(event) {
    event.preventDefault();
    const [left, right, low, high] = FIELDS.map((id) => Number(byId(id).value));
    this.choose(rectangle(Math.min(left, right), Math.max(left, right), Math.min(low, high), Math.max(low, high)));
  }

  #toGrid() {
    location.assign(addressOf("/grid", { map: byId("plane").value, area: this.area.join(",") }));
  }
}

/** A range that holds all values, none of them on its edge. @param {Float32Array} values @returns {[number, number]} */
function around(values) {
  const [low, high] = span(values), margin = (high - low || 1) * MARGIN;
  return [low - margin, high + margin];
}

/** @param {string[]} planes */
export async function open(planes) {
  await new MapPage().begin(planes);
}
