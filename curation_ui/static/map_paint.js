// Points as pixels: a mark of its own for every label, in a color of its own.

const SMALL_MARKS_FROM = 100_000;
// Rows of a mark, one character a pixel; the order is that of the labels.
const MARKS = [
  ["     ", " ### ", " ### ", " ### ", "     "], ["#####", "#   #", "#   #", "#   #", "#####"], ["#   #", " # # ", "  #  ", " # # ", "#   #"],
  ["  #  ", "  #  ", "#####", "  #  ", "  #  "], ["  #  ", " # # ", "#   #", " # # ", "  #  "], ["  #  ", " ### ", "#####", "     ", "     "],
  ["     ", "     ", "#####", " ### ", "  #  "], ["#####", "     ", "#####", "     ", "#####"], ["# # #", "# # #", "# # #", "# # #", "# # #"],
];
const SMALL_MARKS = [["##", "##"], ["###", "# #", "###"], ["# #", " # ", "# #"], [" # ", "###", " # "]];
const EDGE_PX = 5; // a mark's half
const FAINT = 0.35;
const DOUBLED_BELOW = 20_000; // few points may be large

/**
 * @typedef {{width: number, height: number, left: number, top: number, sx: number, sy: number}} View a point lies
 *   at pixel ((x - left) * sx, (top - y) * sy)
 * @typedef {{full: number, faint: number, css: string}} Ink
 */

/** Colors of labels. @param {string} by @param {number} count of labels @param {CanvasRenderingContext2D} context
 * @returns {Ink[]} one more than there are labels: the last is for points without one */
export function inks(by, count, context) {
  const style = getComputedStyle(document.documentElement);
  const variable = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const named = by === "verdict" ? [variable("--soft"), variable("--good"), variable("--bad")] : [];
  const hues = Array.from({ length: count }, (_, index) => `hsl(${Math.round(30 + index * 137.5) % 360} 70% ${dark ? 66 : 36}%)`);
  return [...(named.length ? named : hues), variable("--soft")].map((css) => ink(css, context));
}

/** @param {string} css @param {CanvasRenderingContext2D} context @returns {Ink} */
function ink(css, context) {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = css;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  const packed = new Uint32Array(new Uint8ClampedArray([red, green, blue, 255, red, green, blue, 255 * FAINT]).buffer);
  return { full: packed[0], faint: packed[1], css };
}

/** @param {number} label @param {number} count of points @returns {string[]} */
function markOf(label, count) {
  const marks = count >= SMALL_MARKS_FROM ? SMALL_MARKS : MARKS;
  return marks[label % marks.length];
}

/** @param {string[]} mark @param {number} width @param {number} count of points
 * @returns {Int32Array} from the middle pixel to each inked one */
function offsets(mark, width, count) {
  const large = count < DOUBLED_BELOW ? mark.flatMap((row) => [row, row].map((one) => one.replace(/./g, "$&$&"))) : mark;
  const middle = large.length >> 1;
  return Int32Array.from(large.flatMap((row, y) => [...row].flatMap((sign, x) => (sign === "#" ? [(y - middle) * width + x - middle] : []))));
}

/** Draws all points: the chosen ones last and in full, the others faint where any is chosen.
 * @param {CanvasRenderingContext2D} context @param {View} view @param {import("./map_area.js").Points} points
 * @param {Uint8Array} labels @param {Ink[]} colors @param {Uint8Array|null} chosen */
export function paint(context, view, { x, y }, labels, colors, chosen) {
  const { width, height } = view;
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const none = colors.length - 1;
  const marks = colors.map((_, label) => offsets(markOf(label, x.length), width, x.length));
  for (let round = chosen ? 0 : 1; round < 2; round++) {
    for (let at = 0; at < x.length; at++) {
      if (chosen && chosen[at] !== round) continue;
      const px = Math.round((x[at] - view.left) * view.sx), py = Math.round((view.top - y[at]) * view.sy);
      if (!(px >= EDGE_PX && px < width - EDGE_PX && py >= EDGE_PX && py < height - EDGE_PX)) continue; // NaN lies nowhere
      const label = Math.min(labels[at], none), color = round ? colors[label].full : colors[label].faint;
      const middle = py * width + px, mark = marks[label];
      for (let index = 0; index < mark.length; index++) pixels[middle + mark[index]] = color;
    }
  }
  context.putImageData(image, 0, 0);
}

/** A label's mark, large enough for a legend. @param {number} label @param {Ink} color @param {number} count of points
 * @returns {HTMLCanvasElement} */
export function swatch(label, color, count) {
  const canvas = document.createElement("canvas"), mark = markOf(label, count), cell = Math.floor(15 / mark.length);
  canvas.width = canvas.height = 15;
  canvas.setAttribute("aria-hidden", "true");
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = color.css;
  for (const [y, row] of mark.entries()) {
    for (const [x, sign] of [...row].entries()) if (sign === "#") context.fillRect(x * cell, y * cell, cell, cell);
  }
  return canvas;
}
