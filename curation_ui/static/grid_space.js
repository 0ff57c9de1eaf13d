// Where rows of a grid lie, and how far a scrollbar stands for: arithmetic only.

// Browsers cut off elements higher than 16 to 33 million pixels; far below it they are exact.
export const HIGHEST_PX = 8e6;
const MOST_SHOWN = 40;
const LINE_PX = 24;

export class Space {
  /** @param {number} count of cells @param {number} width @param {number} height of what is seen, pixels */
  constructor(count, width, height) {
    const least = width < 500 ? 96 : 150;
    const side = Math.max(least, Math.sqrt((width * height) / MOST_SHOWN));
    this.count = count;
    this.height = Math.max(1, height);
    this.columns = Math.max(1, Math.floor(width / side));
    this.rowHeight = Math.floor(Math.max(width, 1) / this.columns) + LINE_PX;
    this.rows = Math.ceil(count / this.columns);
    this.full = this.rows * this.rowHeight;
    this.spacer = Math.min(Math.max(this.full, this.height), HIGHEST_PX);
  }

  /** Whether a scrollbar's pixel stands for more than one pixel of rows. */
  get scaled() {
    return this.full > HIGHEST_PX;
  }

  get mostOffset() {
    return Math.max(0, this.full - this.height);
  }

  /** @param {number} offset pixels of rows above what is seen @returns {number} for the scrollbar */
  scrollOf(offset) {
    return this.scaled ? (offset / this.mostOffset) * (this.spacer - this.height) : offset;
  }

  /** @param {number} scroll @returns {number} */
  offsetOf(scroll) {
    return this.clamp(this.scaled ? (scroll / (this.spacer - this.height)) * this.mostOffset : scroll);
  }

  /** @param {number} offset */
  clamp(offset) {
    return Math.min(Math.max(0, offset), this.mostOffset);
  }

  /** @param {number} offset @returns {[number, number]} the first and the last row that is seen of */
  rowsAt(offset) {
    const last = Math.ceil((offset + this.height) / this.rowHeight) - 1;
    return [Math.floor(offset / this.rowHeight), Math.min(last, this.rows - 1)];
  }

  /** @param {number} at @param {number} offset @returns {number} the nearest offset at which a cell is seen whole */
  offsetFor(at, offset) {
    const top = Math.floor(at / this.columns) * this.rowHeight;
    if (top < offset || this.rowHeight > this.height) return this.clamp(top);
    return this.clamp(Math.max(offset, top + this.rowHeight - this.height));
  }

  /** Rows a page key moves by. */
  get pageRows() {
    return Math.max(1, Math.floor(this.height / this.rowHeight));
  }
}
