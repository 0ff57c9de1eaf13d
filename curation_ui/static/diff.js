// Differences between captions, word by word.

/**
 * @typedef {{kind: "same"|"gone"|"new", text: string}} Piece
 */

// Longer texts are compared as wholes: the table below grows with the product of the lengths.
const MOST_WORDS = 1500;

/** Words and signs with the white space before each; joined they are the text again. @param {string} text */
export function words(text) {
  return text.match(/\s*(?:[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}])|\s+$/gu) ?? [];
}

/** Lengths of the longest common subsequence of every pair of tails. @param {string[]} a @param {string[]} b */
function commonTails(a, b) {
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const at = i * width + j;
      lengths[at] = a[i] === b[j] ? lengths[at + width + 1] + 1 : Math.max(lengths[at + width], lengths[at + 1]);
    }
  }
  return lengths;
}

/** @param {Piece[]} pieces @param {Piece["kind"]} kind @param {string} text */
function add(pieces, kind, text) {
  const last = pieces[pieces.length - 1];
  if (last && last.kind === kind) last.text += text;
  else pieces.push({ kind, text });
}

/**
 * What must go and what must come to make `after` of `before`. The pieces that are not "new" join to `before`,
 * those that are not "gone" to `after`.
 * @param {string} before @param {string} after @returns {Piece[]}
 */
export function difference(before, after) {
  const a = words(before), b = words(after);
  /** @type {Piece[]} */
  const pieces = [];
  if (a.length > MOST_WORDS || b.length > MOST_WORDS) {
    if (before === after) return before ? [{ kind: "same", text: before }] : [];
    if (before) add(pieces, "gone", before);
    if (after) add(pieces, "new", after);
    return pieces;
  }
  const lengths = commonTails(a, b), width = b.length + 1;
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) add(pieces, "same", (j++, a[i++]));
    else if (j === b.length || (i < a.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      add(pieces, "gone", a[i++]);
    } else add(pieces, "new", b[j++]);
  }
  return pieces;
}

const TAGS = { same: "span", gone: "del", new: "ins" };

/** Nodes that show a difference: `del` and `ins` elements say it also without color. @param {Piece[]} pieces */
export function marked(pieces) {
  return pieces.map(({ kind, text }) => {
    const node = document.createElement(TAGS[kind]);
    node.textContent = text;
    return node;
  });
}
