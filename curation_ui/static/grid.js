// The grid: a whole queue, or what a filter finds of it, at a glance.

import { ApiError, getBytes, send } from "./api.js";
import { BatchDialog } from "./batch.js";
import { Desk } from "./desk.js";
import { byId, element, number, say } from "./dom.js";
import { Filter } from "./filter.js";
import { CardPages } from "./grid_cards.js";
import { KeyList } from "./grid_keys.js";
import { GridView } from "./grid_view.js";
import { Keys } from "./keys.js";
import { follow, wordOf } from "./marks.js";
import { addressOf, begin, openKept, place } from "./session.js";

/** @typedef {"keep"|"reject"|"unset"} Kind */

const AT_ONCE = 50; // more than these are previewed first
const VERBS = { keep: "Keep", reject: "Reject", unset: "Unset" };
/** @type {[string, string][]} */
const ACTIONS = [
  ["keep", "keep what is selected, else the image of the cursor"], ["reject", "reject"], ["unset", "take the decision back"],
  ["undo", "undo the last decision or batch"], ["filter", "filter"], ["help", "this list"],
];
/** @type {[string, string][]} */
const FIXED = [
  ["Arrows, PageUp, PageDown", "move"], ["Home, End", "first and last"], ["Enter", "review this image"],
  ["Shift + any of these", "select up to there"], ["Space", "select or not"], ["Ctrl + A, Esc", "select all, none"],
  ["Shift + 1 to 9", "reject with that reason"],
];

class Grid {
  /** @param {import("./api.js").Me} me @param {import("./kept.js").KeptEntries|null} kept */
  constructor(me, kept) {
    this.me = me;
    this.asked = { query: "", sort: "", map: "", area: "" };
    this.count = 0;
    this.cards = new CardPages({
      onLoaded: () => this.#loaded(),
      onGone: () => this.#again(),
      onTrouble: (sentence) => this.#trouble(sentence),
    });
    this.view = new GridView(this.cards, {
      onOpen: (at) => this.#open(at), onCursor: () => this.#tellWhere(), onSelect: () => this.#tellSelected(),
    });
    this.desk = new Desk(kept, { onStates: (states) => this.#take(states), onStale: () => this.#stale() });
    this.keys = new Keys(me.keys, me.single_keys ?? true);
    this.batch = new BatchDialog(this.desk, this.keys);
    this.help = new KeyList(this.keys, ACTIONS, FIXED);
    this.filterSet = { snapshot: /** @type {object|null} */ (null), useFilter: (/** @type {string} */ query, /** @type {string} */ sort) => this.use({ ...this.asked, query, sort }), useQueue: () => {} };
    this.filter = new Filter(/** @type {any} */ (this.filterSet), () => this.#cleared());
    this.mayBatch = me.person.role !== "annotator";
    this.#listen();
  }

  #listen() {
    /** @type {Object<string, () => void>} */
    const actions = {
      keep: () => this.decide("keep"), reject: () => this.decide("reject"), unset: () => this.decide("unset"),
      undo: () => this.desk.undo(), undo_too: () => this.desk.undo(),
      filter: () => byId("query").focus(), help: () => this.help.open(),
    };
    this.keys.push({ actions, digit: (digit, shifted) => shifted && this.#rejectFor(digit), below: false });
    for (const button of document.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => actions[/** @type {HTMLElement} */ (button).dataset.do ?? ""]());
    }
    byId("select-all").addEventListener("click", () => this.view.select(0, this.count));
    byId("select-none").addEventListener("click", () => this.view.select(0, 0));
    byId("select-mode").addEventListener("click", () => this.#toggleMode());
    byId("captions").addEventListener("click", () => this.#replaceCaptions());
    byId("captions").hidden = !this.mayBatch;
    byId("area-clear").addEventListener("click", () => this.#use({ ...this.asked, map: "", area: "" }));
    byId("jump").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.view.anchor = byId("jump-to").value - 1;
      this.view.stand(byId("jump-to").value - 1);
    });
    byId("range").addEventListener("submit", (/** @type {Event} */ event) => this.#selectRange(event));
    byId("reason").append(...this.me.reasons.map(({ code, label }) => element("option", { value: code }, label)));
  }

  /** Begins with what the address says. */
  async start() {
    const said = place();
    const at = Number(said.get("at") ?? 1) - 1, item = said.get("item");
    this.asked = { query: said.get("query") ?? "", sort: "", map: said.get("map") ?? "", area: said.get("area") ?? "" };
    await this.filter.offerColumns();
    const wanted = said.get("sort") ?? "";
    byId("query").value = this.asked.query;
    byId("sort").value = wanted;
    byId("filter-clear").hidden = !this.asked.query && !wanted;
    await this.#use({ ...this.asked, sort: byId("sort").value }, item === null ? at : Number(item), item !== null);
    addEventListener("hashchange", () => location.reload());
  }

  /** Another order. @param {Grid["asked"]} asked @param {number} to the position to stand at, or the item
   * @param {boolean} byItem @returns {Promise<number>} how many there are */
  async use(asked, to = this.#item(), byItem = to >= 0) {
    const area = asked.area ? asked.area.split(",").map(Number) : [];
    const { snapshot, count } = await send("/api/snapshots", { query: asked.query, sort: asked.sort, map: asked.map, area });
    const at = byItem ? await this.#find(snapshot, count, to) : to;
    this.asked = asked;
    this.count = count;
    this.filterSet.snapshot = asked.query || asked.sort ? {} : null;
    this.cards.use(snapshot, count);
    byId("empty").hidden = count > 0;
    byId("jump-to").max = byId("range-from").max = byId("range-to").max = String(Math.max(1, count));
    byId("area").hidden = !asked.map;
    byId("area-name").textContent = `Only what lies in the chosen area of ${asked.map}.`;
    this.view.use(count, at);
    return count;
  }

  /** The same, with its troubles told. @param {Grid["asked"]} asked @param {number} [to] @param {boolean} [byItem] */
  async #use(asked, to, byItem) {
    try {
      await this.use(asked, to, byItem);
      this.#trouble("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("query-error").textContent = error.message;
    }
  }

  async #cleared() {
    const { query, sort } = this.asked;
    if (byId("query").value.trim() === "" && byId("sort").value === "" && (query || sort)) await this.#use({ ...this.asked, query: "", sort: "" });
  }

  /** The item of the cursor; -1 where it is not known. */
  #item() {
    return this.cards.card(this.view.cursor)?.item ?? -1;
  }

  /** Where an item stands in another order; the beginning where it does not. @param {string} snapshot
   * @param {number} count @param {number} item */
  async #find(snapshot, count, item) {
    if (count === 0) return 0;
    const order = new Uint32Array(await getBytes(`/api/snapshots/${encodeURIComponent(snapshot)}/order`));
    return Math.max(0, order.indexOf(item));
  }

  /** The server has forgotten the order: it is made again. */
  async #again() {
    say("The server made this selection again; positions may have moved.");
    await this.#use(this.asked, this.view.cursor, false);
  }

  /** @param {string} sentence */
  #trouble(sentence) {
    byId("trouble").hidden = sentence === "";
    if (byId("trouble").textContent !== sentence) byId("trouble").textContent = sentence;
  }

  #loaded() {
    this.#trouble("");
    this.view.refresh();
  }

  #stale() {
    this.cards.stale();
    this.view.refresh();
  }

  /** @param {{item: number}[]} states */
  #take(states) {
    for (const state of states) {
      const card = this.cards.of(state.item);
      if (card) follow(card, state);
    }
    this.view.refresh();
  }

  #tellWhere() {
    byId("where").textContent = this.view.where();
    const words = { ...this.asked, at: this.view.cursor + 1 };
    clearTimeout(this.writing);
    this.writing = setTimeout(() => history.replaceState(null, "", addressOf("/grid", words)), 200);
  }

  #tellSelected() {
    const { count } = this.view.selection;
    byId("selected").textContent = count ? `${number(count)} selected` : "None selected";
    byId("select-all").textContent = `All ${number(this.count)}`;
    byId("select-none").disabled = count === 0;
  }

  #toggleMode() {
    this.view.selecting = !this.view.selecting;
    byId("select-mode").setAttribute("aria-pressed", String(this.view.selecting));
  }

  /** @param {Event} event */
  #selectRange(event) {
    event.preventDefault();
    const [from, to] = ["range-from", "range-to"].map((id) => Number(byId(id).value)).sort((a, b) => a - b);
    this.view.select(from - 1, Math.min(to, this.count));
  }

  /** @param {number} at */
  #open(at) {
    const card = this.cards.card(at);
    if (!card) return;
    history.replaceState(null, "", addressOf("/grid", { ...this.asked, at: at + 1 }));
    const { query, sort, map } = this.asked;
    location.assign(addressOf("/review", map ? { item: card.item } : { query, sort, item: card.item }));
  }

  /** @param {number} digit @returns {boolean} whether it is a reason */
  #rejectFor(digit) {
    const reason = this.me.reasons.find(({ key }) => key === String(digit));
    if (reason) this.decide("reject", reason.code);
    return Boolean(reason);
  }

  /** What is selected, else the cursor. @returns {[number, number][]} */
  #ranges() {
    const { selection, cursor } = this.view;
    return selection.count ? selection.list : [[cursor, cursor + 1]];
  }

  /** @param {Kind} kind @param {string} reason */
  async decide(kind, reason = byId("reason").value) {
    const count = this.view.selection.count || 1;
    const reasons = kind === "reject" && reason ? [reason] : [];
    if (this.count === 0) return;
    if (count > AT_ONCE) return this.#plan({ title: `${VERBS[kind]} ${number(count)} images`, verb: VERBS[kind], body: { kind, reasons } });
    const positions = this.view.selection.count ? this.view.selection.positions() : [this.view.cursor];
    try {
      const cards = await this.cards.all(positions);
      this.desk.decide(cards.map((card) => ({ card, kind, reasons })));
      say(cards.length === 1 ? `Image ${cards[0].item}, ${number(positions[0] + 1)} of ${number(this.count)}: ${wordOf(cards[0].verdict)}.` : `${number(cards.length)} images: ${wordOf(cards[0].verdict)}.`);
      this.view.refresh();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(error.message);
    }
  }

  #replaceCaptions() {
    const count = this.view.selection.count || this.count;
    if (count === 0) return;
    if (!this.view.selection.count) this.view.select(0, this.count);
    this.#plan({ title: `Replace words in ${number(count)} captions`, verb: "Replace in", body: { kind: "caption" } }, "captions");
  }

  /** @param {{title: string, verb: string, body: object}} plan @param {string} opener */
  #plan(plan, opener = "") {
    if (!this.mayBatch) return say(`You may decide up to ${AT_ONCE} images at once; more is for curators.`);
    this.batch.open({ ...plan, body: { ...plan.body, snapshot: this.cards.snapshot, ranges: this.#ranges() } }, opener);
  }
}

begin(async (me) => {
  const grid = new Grid(me, await openKept(me));
  await grid.start();
  await grid.desk.outbox.resume();
});
