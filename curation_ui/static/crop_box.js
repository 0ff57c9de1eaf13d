// Where a crop lies: whole pixels of the upright image, always inside it.

/**
 * @typedef {import("./api.js").Box} Box
 * @typedef {{width: number, height: number}} Size
 */

/** @param {number} value @param {number} least @param {number} most */
function between(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

/** @param {Box} box @param {Size} size @returns {Box} whole numbers, at least a pixel each way, inside */
export function inside([left, top, right, bottom], size) {
  const width = between(Math.round(right - left), 1, size.width);
  const height = between(Math.round(bottom - top), 1, size.height);
  const x = between(Math.round(left), 0, size.width - width);
  const y = between(Math.round(top), 0, size.height - height);
  return [x, y, x + width, y + height];
}

/** @param {Box} box @param {number} dx @param {number} dy @param {Size} size @returns {Box} */
export function moved([left, top, right, bottom], dx, dy, size) {
  return inside([left + dx, top + dy, right + dx, bottom + dy], size);
}

/** Wider by twice `by` pixels around its center, and taller by as much as `aspect` asks. @param {Box} box
 * @param {number} by @param {number|null} aspect width over height, null to keep that of the box
 * @param {Size} size @returns {Box} */
export function scaled([left, top, right, bottom], by, aspect, size) {
  const wanted = aspect ?? (right - left) / (bottom - top);
  const most = Math.min(size.width, size.height * wanted);
  const width = between(right - left + 2 * by, Math.min(most, Math.max(8, 8 * wanted)), most);
  return around((left + right) / 2, (top + bottom) / 2, width, width / wanted, size);
}

/** @param {number} x @param {number} y @param {number} width @param {number} height @param {Size} size @returns {Box} */
function around(x, y, width, height, size) {
  return inside([x - width / 2, y - height / 2, x + width / 2, y + height / 2], size);
}

/** The largest box of an aspect that fits into the width and height of this one's larger side, around its center.
 * @param {Box} box @param {number} aspect @param {Size} size @returns {Box} */
export function snapped([left, top, right, bottom], aspect, size) {
  const width = Math.min(Math.max(right - left, (bottom - top) * aspect), size.width, size.height * aspect);
  return around((left + right) / 2, (top + bottom) / 2, width, width / aspect, size);
}

/** A box between two corners, the first of which stays. @param {number} fromX @param {number} fromY
 * @param {number} toX @param {number} toY @param {number|null} aspect @param {Size} size @returns {Box} */
export function dragged(fromX, fromY, toX, toY, aspect, size) {
  const x = between(toX, 0, size.width), y = between(toY, 0, size.height);
  let width = Math.max(1, Math.abs(x - fromX)), height = Math.max(1, Math.abs(y - fromY));
  if (aspect !== null) {
    const roomX = x < fromX ? fromX : size.width - fromX, roomY = y < fromY ? fromY : size.height - fromY;
    width = Math.min(Math.max(width, height * aspect), roomX, roomY * aspect);
    height = width / aspect;
  }
  const left = x < fromX ? fromX - width : fromX, top = y < fromY ? fromY - height : fromY;
  return inside([left, top, left + width, top + height], size);
}

/** @param {Box|null} box @param {Size} size whether it is everything */
export function isWhole(box, size) {
  return !box || (box[0] === 0 && box[1] === 0 && box[2] === size.width && box[3] === size.height);
}
