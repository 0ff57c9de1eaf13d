// What a person does on the review page: one card at a time, one key per decision.

import { acknowledged, refused, undone } from "./answers.js";
import { ApiError } from "./api.js";
import { keepLeases } from "./beat.js";
import { CaptionPane } from "./caption.js";
import { Conflicts } from "./conflict.js";
import { CropMode } from "./crop.js";
import { afterPaint, byId, say } from "./dom.js";
import { Filter } from "./filter.js";
import { Help } from "./help.js";
import { DecodedWindow } from "./images.js";
import { Keys } from "./keys.js";
import { Ledger } from "./ledger.js";
import { Readout } from "./readout.js";
import { Outbox } from "./send.js";
import { Stage } from "./stage.js";
import { Duplicates, LastStrip } from "./strips.js";
import { Trail, isFree } from "./trail.js";

/**
 * @typedef {import("./api.js").Card} Card
 * @typedef {import("./ledger.js").Change} Change
 */

const REASON_MS = 1200;
const REST_MS = 60; // in a quick series of keys nobody reads the columns, and their layout would delay images
export const RETRY_MS = 3000;

/** @param {string} kind */
function isVerdict(kind) {
  return kind === "keep" || kind === "reject";
}

export class Review {
  /** @param {import("./api.js").Me} me @param {import("./kept.js").KeptEntries|null} kept */
  constructor(me, kept) {
    this.me = me;
    this.trail = new Trail();
    this.images = new DecodedWindow((item) => item === this.trail.current?.item && this.stage.show(this.trail.current));
    this.stage = new Stage(this.images);
    this.outbox = new Outbox(kept, {
      onResults: (sent, results) => acknowledged(this, sent, results),
      onUndone: (answer) => undone(this, /** @type {any} */ (answer)),
      onRefused: (message, entry) => refused(this, message, entry),
      onChange: () => this.readout.unsaved(this.outbox),
    });
    this.ledger = new Ledger(this.outbox, (item) => this.trail.leases.get(item) ?? null, me.person.name);
    this.keys = new Keys(me.keys, me.single_keys ?? true);
    this.readout = new Readout(me, this.keys);
    this.caption = new CaptionPane(me.tokens, { onSave: (text, stay) => this.saveCaption(text, stay) });
    this.crop = new CropMode(this.stage, this.keys, {
      aspects: me.aspects ?? [],
      onSave: (card, box) => this.decide([{ card, kind: "crop", crop: box }], false),
    });
    this.conflicts = new Conflicts(this.keys, (conflict, text) => this.#sendMine(conflict, text));
    this.help = new Help(this.keys, () => this.readout.keyNames());
    this.last = new LastStrip((card) => this.goTo(card));
    this.duplicates = new Duplicates(this.trail, (card) => this.goTo(card));
    this.filter = new Filter(this.trail, () => this.restart());
    this.shownAt = performance.now();
    this.resting = 0;
    /** The rejection that a digit may still give reasons. @type {{stroke: import("./ledger.js").Stroke, till: number}|null} */
    this.reasoned = null;
    this.unzoom = () => {};
    this.#listen();
  }

  #listen() {
    /** @type {Object<string, () => void>} */
    const actions = {
      keep: () => this.keep(), reject: () => this.reject([]), unset: () => this.unset(),
      keep_only: () => this.keepOnly(), undo: () => this.undo(), undo_too: () => this.undo(),
      next: () => this.move(1), previous: () => this.move(-1), next_undecided: () => this.nextUndecided(),
      filter: () => byId("query").focus(), grid: () => location.assign("/grid"),
      edit: () => this.caption.edit(), candidates: () => this.toggleCandidates(),
      conflict: () => this.conflicts.show(), zoom: () => this.zoom(), crop: () => this.openCrop(),
      duplicates: () => this.duplicates.toggle(), help: () => this.help.open(),
    };
    this.keys.push({ actions, digit: (digit, shifted) => this.digit(digit, shifted), below: false });
    for (const button of document.querySelectorAll("[data-do]")) {
      const work = actions[/** @type {HTMLElement} */ (button).dataset.do ?? ""];
      button.addEventListener("click", () => work());
    }
    this.readout.reasons((code) => this.reject([code]));
    keepLeases(this.trail, () => this.load());
  }

  /** Begins, or begins again with another trail. */
  async restart() {
    await this.load();
    this.show();
  }

  /** Loads what comes next; keeps trying while the server does not answer. */
  async load() {
    try {
      await this.trail.more();
      this.readout.trouble("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.readout.trouble(error.status === 401 ? "You are signed out. Open your link again; what is unsaved stays in this browser." : `${error.message} Trying again.`);
      if (error.status !== 401) setTimeout(() => this.load(), RETRY_MS);
      return;
    }
    this.images.move(this.trail.cards, this.trail.at);
    if (this.stage.card !== this.trail.current) this.show();
  }

  /** Shows the current card: its image now, what is beside it once that is painted. */
  show() {
    const card = this.trail.current;
    this.crop.close();
    this.stage.show(card);
    this.caption.show(card);
    this.readout.card(card);
    this.shownAt = performance.now();
    afterPaint(() => {
      if (this.trail.current !== card) return;
      this.images.move(this.trail.cards, this.trail.at);
      this.load();
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.#showRest(), REST_MS);
    });
  }

  #showRest() {
    const card = this.trail.current;
    this.caption.showRest();
    this.readout.rest(card, this.trail, this.ledger.decided);
    this.duplicates.show(card);
  }

  /** One stroke: in force on the page now, on the server soon. @param {Change[]} changes @param {boolean} onwards */
  decide(changes, onwards) {
    const card = this.trail.current;
    const fresh = changes.filter((change) => isVerdict(change.kind) && isFree(change.card)).length;
    this.trail.left -= this.trail.snapshot ? 0 : fresh;
    const stroke = this.ledger.enter(changes, Math.round(performance.now() - this.shownAt));
    this.reasoned = null;
    for (const change of changes) this.last.note(change.card);
    if (onwards && !this.trail.advance()) say(this.trail.snapshot ? "That was the last of the filtered set." : "Nothing else here is undecided.");
    if (onwards && this.trail.current === card && !this.trail.snapshot) this.trail.at = this.trail.cards.length;
    this.show();
    return stroke;
  }

  keep() {
    const card = this.trail.current;
    if (!card) return;
    /** @type {Change[]} */
    const changes = this.caption.dirty ? [{ card, kind: "caption", caption: this.caption.field.value.trim() }] : [];
    this.decide([...changes, { card, kind: "keep" }], true);
  }

  /** @param {string[]} reasons */
  reject(reasons) {
    const card = this.trail.current;
    if (!card) return;
    const stroke = this.decide([{ card, kind: "reject", reasons }], true);
    this.#awaitReasons(stroke);
  }

  /** @param {import("./ledger.js").Stroke} stroke */
  #awaitReasons(stroke) {
    this.outbox.hold(stroke.last.uuid, REASON_MS);
    this.reasoned = { stroke, till: performance.now() + REASON_MS };
  }

  unset() {
    const card = this.trail.current;
    if (card) this.decide([{ card, kind: "unset" }], false);
  }

  /** @param {number} digit @param {boolean} shifted @returns {boolean} whether it meant something */
  digit(digit, shifted) {
    const reason = this.me.reasons.find(({ key }) => key === String(digit));
    if (shifted) {
      if (reason) this.reject([reason.code]);
      return Boolean(reason);
    }
    if (this.reasoned && performance.now() < this.reasoned.till) {
      if (reason) this.#addReason(reason.code);
      return true; // a slip of the finger must not take a caption of the next image
    }
    return this.caption.active && this.caption.accept(digit);
  }

  /** @param {string} code given, or taken away again */
  #addReason(code) {
    const { stroke } = /** @type {NonNullable<Review["reasoned"]>} */ (this.reasoned);
    const { card } = stroke.changes[0];
    const reasons = card.reasons.includes(code) ? card.reasons.filter((one) => one !== code) : [...card.reasons, code];
    this.ledger.giveReasons(stroke, reasons);
    this.#awaitReasons(this.ledger.strokes[this.ledger.strokes.length - 1]);
    this.last.note(card);
    say(`Image ${card.item} rejected: ${this.readout.reasonNames(reasons) || "no reason"}.`);
  }

  /** Keeps this image and rejects the others of its cluster. */
  async keepOnly() {
    const card = this.trail.current;
    if (!card) return;
    try {
      const others = (await this.duplicates.members(card)).filter((one) => one.item !== card.item);
      if (this.trail.current !== card) return;
      const rejected = others.map((one) => ({ card: one, kind: /** @type {const} */ ("reject"), reasons: ["duplicate"] }));
      this.decide([...rejected, { card, kind: "keep" }], true);
      say(`Image ${card.item} kept, ${rejected.length} duplicates rejected.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(error.message);
    }
  }

  /** @param {string} text @param {boolean} stay without deciding, else the image is kept */
  saveCaption(text, stay) {
    const card = this.trail.current;
    if (!card) return;
    const changed = text !== card.caption;
    this.caption.field.value = this.caption.base; // no draft remains of what is saved
    /** @type {Change[]} */
    const changes = changed ? [{ card, kind: "caption", caption: text }] : [];
    if (!stay) changes.push({ card, kind: "keep" });
    if (changes.length) this.decide(changes, !stay);
  }

  toggleCandidates() {
    this.caption.active = !this.caption.active;
    byId("candidates-button").setAttribute("aria-pressed", String(this.caption.active));
    this.caption.pane.classList.toggle("active", this.caption.active);
    say(this.caption.active ? "Digits take a caption." : "Digits take no caption.");
  }

  undo() {
    const stroke = this.ledger.undo();
    this.reasoned = null;
    if (!stroke) return;
    const { card } = stroke.changes[stroke.changes.length - 1];
    this.trail.left += this.trail.snapshot ? 0 : stroke.changes.filter((change) => isFree(change.card)).length;
    this.caption.drafts.delete(card.item);
    this.caption.card = null;
    this.last.note(card);
    this.goTo(card);
    say(`Undone: ${stroke.kind} of image ${card.item}.`);
  }

  /** @param {Card} card */
  goTo(card) {
    this.trail.goTo(card);
    this.show();
  }

  /** @param {number} by */
  move(by) {
    this.reasoned = null;
    if (this.trail.step(by)) this.show();
  }

  nextUndecided() {
    if (this.trail.toUndecided()) this.show();
    else say("Nothing else here is undecided.");
  }

  zoom() {
    const zoomed = this.trail.current !== null && this.stage.toggleZoom();
    byId("zoom-button").setAttribute("aria-pressed", String(zoomed));
    this.unzoom();
    this.unzoom = () => {};
    if (!zoomed) return;
    const pan = (/** @type {number} */ dx, /** @type {number} */ dy) => () => this.stage.pan(dx, dy);
    const actions = {
      "key ArrowLeft": pan(-1, 0), "key ArrowRight": pan(1, 0), "key ArrowUp": pan(0, -1), "key ArrowDown": pan(0, 1),
      "key Escape": () => this.zoom(),
    };
    this.unzoom = this.keys.push({ actions, below: true });
  }

  openCrop() {
    const card = this.trail.current;
    if (!card) return;
    if (this.stage.zoomed) this.zoom();
    this.crop.open(card);
  }

  /** Shows what the server changed of the current card, but not into a caption that is being written. */
  refresh() {
    this.readout.card(this.trail.current);
    this.stage.place();
    if (!this.caption.dirty || document.activeElement !== this.caption.field) this.caption.show(this.trail.current);
  }

  /** @param {import("./conflict.js").Conflict} conflict @param {string|null} text */
  #sendMine({ card, mine }, text) {
    const { kind } = mine;
    this.decide([kind === "crop" ? { card, kind, crop: mine.crop } : { card, kind: "caption", caption: text }], false);
  }
}
