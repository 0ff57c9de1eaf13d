// Areas of a plane, and which points lie in them.

const MOST_CORNERS = 200;

/** @typedef {{x: Float32Array, y: Float32Array}} Points */

/** A hand-drawn outline with few enough corners, each of six digits. @param {number[]} outline x, y, x, y, ...
 * @returns {number[]} */
export function tidy(outline) {
  const corners = outline.length / 2, every = Math.ceil(corners / MOST_CORNERS);
  const kept = [];
  for (let corner = 0; corner < corners; corner += every) kept.push(outline[2 * corner], outline[2 * corner + 1]);
  return kept.map((value) => Number(value.toPrecision(6)));
}

/** @param {number} left @param {number} right @param {number} low @param {number} high @returns {number[]} */
export function rectangle(left, right, low, high) {
  return [left, low, right, low, right, high, left, high];
}

/** Which points lie in a polygon, by the even-odd rule. @param {Points} points @param {number[]} area
 * @returns {Uint8Array} 1 where one does */
export function inside({ x, y }, area) {
  const found = new Uint8Array(x.length);
  const xs = area.filter((_, index) => index % 2 === 0), ys = area.filter((_, index) => index % 2 === 1);
  const left = Math.min(...xs), right = Math.max(...xs), low = Math.min(...ys), high = Math.max(...ys);
  for (let at = 0; at < x.length; at++) {
    const px = x[at], py = y[at];
    if (px >= left && px <= right && py >= low && py <= high && isIn(px, py, xs, ys)) found[at] = 1;
  }
  return found;
}

/** @param {number} px @param {number} py @param {number[]} xs @param {number[]} ys */
function isIn(px, py, xs, ys) {
  let odd = false;
  for (let corner = 0; corner < xs.length; corner++) {
    const next = (corner + 1) % xs.length, ay = ys[corner], by = ys[next];
    if (ay > py === by > py) continue;
    if (px < ((xs[next] - xs[corner]) * (py - ay)) / (by - ay) + xs[corner]) odd = !odd;
  }
  return odd;
}

/** The smallest and largest of the finite values. @param {Float32Array} values @returns {[number, number]} */
export function span(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}
