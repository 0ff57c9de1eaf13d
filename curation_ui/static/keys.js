// Which key does what, and who hears it: the top layer only.

/**
 * @typedef {{action: string, label: string, combo: string, group: string}} Action
 * @typedef {{actions: Object<string, () => void>, digit?: (digit: number, shifted: boolean) => boolean,
 *   below: boolean, repeats?: boolean}} Layer `below`: keys it does not know go to the layer below; `repeats`: a
 *   key that is held down counts again and again
 */

/** Every action with the key it has until somebody chooses another. @type {Action[]} */
export const ACTIONS = [
  ["keep", "Keep", "P", "Decide"],
  ["reject", "Reject; a digit after it gives the reason", "X", "Decide"],
  ["unset", "Take the decision back: undecided", "U", "Decide"],
  ["keep_only", "Keep this, reject the rest of its duplicates", "Shift+P", "Decide"],
  ["undo", "Undo", "Backspace", "Decide"],
  ["undo_too", "Undo, the second key", "Ctrl+Z", "Decide"],
  ["next", "Next image", "ArrowRight", "Move"],
  ["previous", "Previous image", "ArrowLeft", "Move"],
  ["next_undecided", "Next undecided image", "Space", "Move"],
  ["filter", "Filter", "/", "Move"],
  ["grid", "Grid", "G", "Move"],
  ["edit", "Edit the caption", "E", "Caption"],
  ["candidates", "Digits take a caption: on or off", "T", "Caption"],
  ["conflict", "Settle a conflict", "R", "Caption"],
  ["zoom", "Zoom to 100% at the pointer, or back", "Z", "Image"],
  ["crop", "Crop", "C", "Image"],
  ["duplicates", "Duplicates", "D", "Image"],
  ["help", "All keys", "?", "Help"],
].map(([action, label, combo, group]) => ({ action, label, combo, group }));

/** Keys that belong to one mode and keep their place: shown, not rebound. */
export const FIXED = [
  ["1 to 9 after Reject", "the reason; again for a second one"],
  ["Shift + 1 to 9", "reject with that reason"],
  ["1 to 9 while captions are on", "take that caption, keep, next"],
  ["Enter in the caption", "save, keep, next"],
  ["Shift + Enter in the caption", "save and stay"],
  ["Esc in the caption", "leave it as it was"],
  ["Arrows while zoomed", "move the view"],
  ["Arrows while cropping", "move by 1 px; with Shift 10 px"],
  ["+ and - while cropping", "larger and smaller"],
  ["1 to 9 while cropping", "take that suggestion; 0 the whole image"],
  ["Enter, Esc while cropping", "save the crop, leave it as it was"],
];

const MODIFIERS = new Set(["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Dead", "Process", "Unidentified"]);

/** @param {KeyboardEvent} event @returns {number|null} the digit of the key, whatever Shift makes of it */
export function digitOf(event) {
  if (/^[0-9]$/.test(event.key)) return Number(event.key);
  return /^Digit[0-9]$/.test(event.code) ? Number(event.code.slice(5)) : null;
}

/** @param {KeyboardEvent} event @returns {string} as "Shift+P", "Ctrl+Z", "?"; "" for a modifier alone */
export function comboOf(event) {
  if (MODIFIERS.has(event.key)) return "";
  const digit = digitOf(event);
  let name = event.key === " " ? "Space" : event.key;
  if (digit !== null) name = String(digit);
  else if (name.length === 1) name = name.toUpperCase();
  // Shift is part of a sign such as "?", which lies elsewhere on other keyboards.
  const shifted = event.shiftKey && (name.length > 1 || digit !== null || name !== name.toLowerCase());
  const control = (event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph");
  const alt = event.altKey && !event.getModifierState("AltGraph");
  return `${control ? "Ctrl+" : ""}${alt ? "Alt+" : ""}${shifted ? "Shift+" : ""}${name}`;
}

/** Whether a combo is one sign without Ctrl or Alt, as WCAG 2.1.4 means it. @param {string} combo */
export function isSingle(combo) {
  return combo.replace(/^Shift\+/, "").length === 1;
}

/** @param {EventTarget|null} target @returns {boolean} whether keys go into a field */
function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

/** @param {EventTarget|null} target @param {string} combo whether the browser itself presses the focused control */
function pressesControl(target, combo) {
  if (combo !== "Space" && combo !== "Enter") return false;
  return target instanceof HTMLElement && target.closest("button, a[href], summary") !== null;
}

export class Keys {
  /** @param {Object<string, string>} chosen combo by action @param {boolean} single whether single-key shortcuts work */
  constructor(chosen, single) {
    this.single = single;
    /** @type {Layer[]} */
    this.layers = [];
    this.choose(chosen);
    document.addEventListener("keydown", (event) => this.#heard(event));
  }

  /** @param {Object<string, string>} chosen combo by action; the others keep theirs */
  choose(chosen) {
    /** @type {Map<string, string>} */
    this.combos = new Map(ACTIONS.map(({ action, combo }) => [action, chosen[action] ?? combo]));
    this.actions = new Map([...this.combos].map(([action, combo]) => [combo, action]));
  }

  /** @returns {Object<string, string>} combo of every action that is not at its default */
  chosen() {
    const others = ACTIONS.filter(({ action, combo }) => this.combos.get(action) !== combo);
    return Object.fromEntries(others.map(({ action }) => [action, this.combos.get(action) ?? ""]));
  }

  /** @param {Layer} layer on top from now on @returns {() => void} takes it away again */
  push(layer) {
    this.layers.push(layer);
    return () => {
      this.layers = this.layers.filter((one) => one !== layer);
    };
  }

  /** @param {KeyboardEvent} event */
  #heard(event) {
    const combo = comboOf(event);
    if (!combo || event.isComposing || event.defaultPrevented) return;
    if (isTyping(event.target) || pressesControl(event.target, combo)) return;
    if (!this.single && isSingle(combo)) return;
    for (const layer of [...this.layers].reverse()) {
      if (event.repeat && !layer.repeats) return;
      if (this.#taken(layer, combo, event)) return event.preventDefault();
      if (!layer.below) return;
    }
  }

  /** @param {Layer} layer @param {string} combo @param {KeyboardEvent} event */
  #taken(layer, combo, event) {
    const digit = digitOf(event);
    if (digit !== null && layer.digit && /^(Shift\+)?\d$/.test(combo)) return layer.digit(digit, event.shiftKey);
    const work = layer.actions[this.actions.get(combo) ?? ""] ?? layer.actions[`key ${combo}`];
    if (work) work();
    return Boolean(work);
  }
}
