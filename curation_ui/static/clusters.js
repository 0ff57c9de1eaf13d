// Clusters of images that look alike: keep one, reject the rest, next.

import { ApiError, get } from "./api.js";
import { BatchDialog } from "./batch.js";
import { ClusterRow } from "./cluster_row.js";
import { Desk } from "./desk.js";
import { byId, element, number, say } from "./dom.js";
import { KeyList } from "./grid_keys.js";
import { Keys } from "./keys.js";
import { follow } from "./marks.js";
import { addressOf, begin, openKept, place } from "./session.js";

const PAGE = 16;
const MOST_PER_CALL = 64;
const MOST_PAGES = 100; // looked through for something undecided
// What tells the best of a cluster unless somebody chooses otherwise.
const PREFERRED = ["aesthetic", "clip_similarity", "sharpness"];
const DUPLICATE = "duplicate";
/** @type {[string, string][]} */
const ACTIONS = [
  ["keep_only", "keep the chosen image, reject the rest, next cluster"], ["keep", "keep the chosen image"],
  ["reject", "reject it"], ["unset", "take the decision back"], ["undo", "undo"], ["help", "this list"],
];
/** @type {[string, string][]} */
const FIXED = [["Left, right", "choose an image"], ["Up, down", "another cluster"], ["Enter", "review the image"], ["N", "next undecided cluster"]];

class Clusters {
  /** @param {import("./api.js").Me} me @param {import("./kept.js").KeptEntries|null} kept */
  constructor(me, kept) {
    this.mayBatch = me.person.role !== "annotator";
    this.start = 0;
    this.count = 0;
    this.at = 0;
    /** @type {ClusterRow[]} */
    this.rows = [];
    this.desk = new Desk(kept, { onStates: (states) => this.#take(states), onStale: () => this.#load(this.start, this.at) });
    this.keys = new Keys(me.keys, me.single_keys ?? true);
    this.batch = new BatchDialog(this.desk, this.keys);
    this.help = new KeyList(this.keys, ACTIONS, FIXED);
    this.#listen();
  }

  #listen() {
    const one = (/** @type {"keep"|"reject"|"unset"} */ kind) => () => this.#decideOne(kind);
    const step = (/** @type {number} */ by) => () => this.row?.step(by);
    const actions = {
      keep_only: () => this.row && this.keepOnly(this.row), keep: one("keep"), reject: one("reject"), unset: one("unset"),
      undo: () => this.desk.undo(), undo_too: () => this.desk.undo(), help: () => this.help.open(),
      "key ArrowLeft": step(-1), "key ArrowRight": step(1),
      "key ArrowUp": () => this.#move(-1), "key ArrowDown": () => this.#move(1), "key N": () => this.#nextOpen(),
    };
    this.keys.push({ actions: /** @type {any} */ (actions), below: false });
    byId("clusters").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#enter(event));
    byId("by").addEventListener("change", () => this.#load(0, 0));
    byId("previous-page").addEventListener("click", () => this.#load(Math.max(0, this.start - PAGE), 0));
    byId("next-page").addEventListener("click", () => this.#load(this.start + PAGE, 0));
    byId("next-open").addEventListener("click", () => this.#nextOpen());
    for (const button of document.querySelectorAll("[data-do=undo]")) button.addEventListener("click", () => this.desk.undo());
    byId("accept").hidden = !this.mayBatch;
    byId("accept").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#accept(Number(byId("accept-count").value));
    });
  }

  /** @returns {ClusterRow|undefined} */
  get row() {
    return this.rows[this.at];
  }

  async begin() {
    const { columns } = await get("/api/columns");
    const numbers = columns.filter((/** @type {{type: string}} */ { type }) => type === "number");
    byId("by").append(...numbers.map((/** @type {{name: string}} */ { name }) => element("option", { value: name }, name)));
    const offered = numbers.map((/** @type {{name: string}} */ { name }) => name);
    byId("by").value = [place().get("by"), ...PREFERRED].find((name) => offered.includes(name)) ?? "";
    await this.#load(Math.max(0, Number(place().get("from") ?? 1) - 1) || 0, 0);
  }

  /** @param {number} start @param {number} count */
  #read(start, count) {
    return get(`/api/clusters?start=${start}&count=${count}&by=${encodeURIComponent(byId("by").value)}`);
  }

  /** @param {number} start @param {number} at */
  async #load(start, at) {
    try {
      this.#show(start, await this.#read(start, PAGE), at);
    } catch (error) {
      this.#tell(error);
    }
  }

  /** @param {unknown} error */
  #tell(error) {
    if (!(error instanceof ApiError)) throw error;
    byId("trouble").hidden = false;
    byId("trouble").textContent = error.message;
  }

  /** @param {number} start @param {{clusters: import("./cluster_row.js").Cluster[], count: number}} found @param {number} at */
  #show(start, { clusters, count }, at) {
    const focused = byId("clusters").contains(document.activeElement);
    byId("trouble").hidden = true;
    this.start = start;
    this.count = count;
    this.rows = clusters.map((cluster, index) => new ClusterRow(cluster, start + index, (row) => this.keepOnly(row), (row) => this.#stand(row)));
    byId("clusters").replaceChildren(...this.rows.map((row) => row.root));
    byId("empty").hidden = count > 0;
    byId("previous-page").disabled = start === 0;
    byId("next-page").disabled = start + clusters.length >= count;
    byId("next-open").disabled = count === 0;
    const last = start + clusters.length;
    byId("where").textContent = count ? `${number(start + 1)} to ${number(last)} of ${number(count)} clusters` : "";
    this.#mark(Math.min(at, Math.max(0, this.rows.length - 1)));
    if (focused) this.row?.focus();
    history.replaceState(null, "", addressOf("/clusters", { by: byId("by").value, from: start ? start + 1 : "" }));
  }

  /** @param {number} at */
  #mark(at) {
    this.at = at;
    for (const [index, row] of this.rows.entries()) row.root.classList.toggle("current", index === at);
  }

  /** @param {ClusterRow} row */
  #stand(row) {
    this.#mark(this.rows.indexOf(row));
  }

  /** @param {number} by */
  #move(by) {
    const to = this.at + by;
    if (to < 0 || to >= this.rows.length) return say(to < 0 ? "This is the first cluster here." : "This is the last cluster here.");
    this.#mark(to);
    this.row?.focus();
  }

  /** @param {KeyboardEvent} event */
  #enter(event) {
    const button = event.target instanceof Element ? event.target.closest(".member") : null;
    if (!button || event.repeat || !["Enter", " "].includes(event.key)) return;
    const row = this.rows.find((one) => one.root.contains(button));
    if (!row || event.key === " ") return; // Space presses the button: it chooses
    event.preventDefault();
    location.assign(addressOf("/review", { item: row.cluster.items[row.chosen].item }));
  }

  /** @param {"keep"|"reject"|"unset"} kind */
  #decideOne(kind) {
    const card = this.row?.cluster.items[this.row.chosen];
    if (!card) return;
    this.desk.decide([{ card, kind, reasons: kind === "reject" ? [DUPLICATE] : [] }]);
    this.row?.draw();
    say(`Image ${card.item}: ${card.verdict === "keep" ? "kept" : card.verdict === "reject" ? "rejected" : "undecided"}.`);
  }

  /** Keeps the chosen image of a cluster, rejects the others, and goes on. @param {ClusterRow} row */
  async keepOnly(row) {
    const { items, size } = row.cluster, rank = this.start + this.rows.indexOf(row) + 1;
    if (items.length < size) return this.#keepBest(row);
    const kept = items[row.chosen];
    const rest = items.filter((card) => card !== kept);
    this.desk.decide([
      ...rest.map((card) => ({ card, kind: /** @type {const} */ ("reject"), reasons: [DUPLICATE] })),
      { card: kept, kind: "keep", reasons: [] },
    ]);
    row.draw();
    say(`Cluster ${number(rank)}: image ${kept.item} kept, ${number(rest.length)} rejected.`);
    this.#stand(row);
    await this.#nextOpen();
  }

  /** A cluster too large to be seen whole. @param {ClusterRow} row */
  #keepBest(row) {
    if (row.chosen > 0) return say("Of a cluster this large only the best can be kept here; or decide its images one by one.");
    if (!this.mayBatch) return say("Clusters this large are for curators.");
    const body = { kind: "keep_best", clusters: [row.cluster.cluster], by: byId("by").value };
    this.batch.open({ title: `Keep the best of ${number(row.cluster.size)}, reject the rest`, verb: "Decide", body });
  }

  /** To the next cluster with something undecided, on this page or a later one. */
  async #nextOpen() {
    const here = this.rows.findIndex((row, index) => index > this.at && !row.decided);
    if (here >= 0) {
      this.#mark(here);
      return this.row?.focus();
    }
    try {
      for (let page = 1; page <= MOST_PAGES; page++) {
        const start = this.start + page * PAGE;
        if (start >= this.count) break;
        const found = await this.#read(start, PAGE);
        const at = found.clusters.findIndex(isOpen);
        if (at < 0) continue;
        this.#show(start, found, at);
        return this.row?.focus();
      }
    } catch (error) {
      return this.#tell(error);
    }
    return say("No later cluster has anything undecided.");
  }

  /** Names of so many undecided clusters, from this page on. @param {number} wanted @returns {Promise<string[]>} */
  async #open(wanted) {
    /** @type {string[]} */
    const names = [];
    for (let page = 0; page < MOST_PAGES && names.length < wanted; page++) {
      const { clusters } = await this.#read(this.start + page * MOST_PER_CALL, MOST_PER_CALL);
      if (clusters.length === 0) break;
      names.push(...clusters.filter(isOpen).map((/** @type {{cluster: string}} */ { cluster }) => cluster));
    }
    return names.slice(0, wanted);
  }

  /** Keeps the best of so many clusters, after a preview; what people decided stays. @param {number} wanted */
  async #accept(wanted) {
    try {
      const clusters = await this.#open(wanted), by = byId("by").value;
      if (clusters.length === 0) return say("Nothing is undecided from here on.");
      const title = `Keep the best of ${number(clusters.length)} ${clusters.length === 1 ? "cluster" : "clusters"}, reject the rest`;
      this.batch.open({ title, verb: "Decide", body: { kind: "keep_best", clusters, by } });
    } catch (error) {
      this.#tell(error);
    }
  }

  /** @param {{item: number}[]} states */
  #take(states) {
    const byItem = new Map(states.map((state) => [state.item, state]));
    for (const row of this.rows) {
      for (const card of row.cluster.items) {
        const state = byItem.get(card.item);
        if (state) follow(card, state);
      }
      row.draw();
    }
  }
}

/** @param {import("./cluster_row.js").Cluster} cluster */
function isOpen({ items }) {
  return items.some(({ verdict }) => verdict === null);
}

begin(async (me) => {
  const clusters = new Clusters(me, await openKept(me));
  await clusters.begin();
  await clusters.desk.outbox.resume();
});
