// Which positions are selected: ranges, however many positions they hold.

export class Ranges {
  constructor() {
    /** @type {[number, number][]} start and the position after the last; in order, apart from each other */
    this.list = [];
  }

  get count() {
    return this.list.reduce((sum, [start, stop]) => sum + stop - start, 0);
  }

  /** @param {number} at */
  has(at) {
    let low = 0, high = this.list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.list[middle][1] <= at) low = middle + 1;
      else high = middle;
    }
    return low < this.list.length && this.list[low][0] <= at;
  }

  /** @param {number} start @param {number} stop */
  add(start, stop) {
    const before = this.list.filter((range) => range[1] < start);
    const after = this.list.filter((range) => range[0] > stop);
    const met = this.list.slice(before.length, this.list.length - after.length);
    const first = Math.min(start, ...met.map((range) => range[0])), last = Math.max(stop, ...met.map((range) => range[1]));
    this.list = [...before, [first, last], ...after];
  }

  /** @param {number} start @param {number} stop */
  remove(start, stop) {
    /** @type {(range: [number, number]) => [number, number][]} */
    const rest = ([from, to]) => [[from, Math.min(to, start)], [Math.max(from, stop), to]];
    this.list = this.list.flatMap(rest).filter(([from, to]) => from < to);
  }

  /** @param {number} at */
  toggle(at) {
    if (this.has(at)) this.remove(at, at + 1);
    else this.add(at, at + 1);
  }

  clear() {
    this.list = [];
  }

  /** Every position, for few. @returns {number[]} */
  positions() {
    return this.list.flatMap(([start, stop]) => Array.from({ length: stop - start }, (_, index) => start + index));
  }
}
