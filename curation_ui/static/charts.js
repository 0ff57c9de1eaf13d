// Charts drawn as SVG, as wide as the room they have.

import { number } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const BAR_PX = 40;
const HOUR_MS = 3_600_000;
const COLUMNS_PX = 170;

/** @typedef {{label: string, value: number, kind?: string}} Bar `kind`: a class that gives it a color */

/** @param {string} tag @param {Object<string, string|number>} attributes @param {string} [text] */
function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/** @param {HTMLElement} room @param {number} height @param {string} label @param {Node[]} shapes */
function put(room, height, label, shapes) {
  const svg = shape("svg", { width: room.clientWidth, height, role: "img", "aria-label": label });
  svg.append(...shapes);
  room.replaceChildren(svg);
}

/** Bars one below another, each with its label and number above it.
 * @param {HTMLElement} room @param {string} label @param {Bar[]} bars @param {number} most what a full bar stands for */
export function drawBars(room, label, bars, most) {
  const width = room.clientWidth;
  const shapes = bars.flatMap(({ label: name, value, kind = "" }, index) => {
    const y = index * BAR_PX;
    return [
      shape("text", { x: 0, y: y + 14, class: "name" }, name),
      shape("text", { x: width, y: y + 14, class: "value", "text-anchor": "end" }, `${number(value)} · ${share(value, most)}`),
      shape("rect", { x: 0, y: y + 20, width, height: 10, rx: 3, class: "groove" }),
      shape("rect", { x: 0, y: y + 20, width: most ? (width * value) / most : 0, height: 10, rx: 3, class: `bar ${kind}` }),
    ];
  });
  const said = bars.map(({ label: name, value }) => `${name} ${number(value)}`).join(", ");
  put(room, bars.length * BAR_PX, `${label}: ${said}`, shapes);
}

/** @param {number} value @param {number} of @returns {string} */
export function share(value, of) {
  return of ? `${((100 * value) / of).toLocaleString("en-US", { maximumFractionDigits: 1 })}%` : "0%";
}

/** @param {number} time ms since 1970 @returns {string} */
export function hourName(time) {
  return new Date(time).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

/** One column an hour, the empty hours between too. @param {HTMLElement} room
 * @param {{hour: string, decided: number}[]} hours */
export function drawHours(room, hours) {
  const width = room.clientWidth, floor = COLUMNS_PX - 24, top = 18;
  const times = hours.map(({ hour }) => Date.parse(hour));
  const first = times[0], count = Math.max(1, (times[times.length - 1] - first) / HOUR_MS + 1);
  const most = Math.max(...hours.map(({ decided }) => decided));
  const step = Math.min(width / count, 48), wide = Math.max(1, step * 0.8);
  const columns = hours.map(({ decided }, index) => {
    const x = ((times[index] - first) / HOUR_MS) * step, height = Math.max(2, ((floor - top) * decided) / most);
    const column = shape("rect", { x, y: floor - height, width: wide, height, class: "bar" });
    column.append(shape("title", {}, `${hourName(times[index])}: ${number(decided)}`));
    return column;
  });
  const lines = [
    shape("text", { x: width, y: 12, class: "value", "text-anchor": "end" }, `most: ${number(most)}`),
    shape("line", { x1: 0, x2: width, y1: floor, y2: floor, class: "axis" }),
    shape("text", { x: 0, y: COLUMNS_PX - 6, class: "name" }, hourName(first)),
  ];
  if (count * step > 250) lines.push(shape("text", { x: count * step, y: COLUMNS_PX - 6, class: "name", "text-anchor": "end" }, hourName(times[times.length - 1])));
  put(room, COLUMNS_PX, `Decisions in ${number(hours.length)} hours, at most ${number(most)} in one`, [...columns, ...lines]);
}
