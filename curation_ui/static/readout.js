// What the page says around the image: verdict, progress, scores, what is unsaved.

import { byId, element, number } from "./dom.js";
import { comboName } from "./help.js";

/** @typedef {import("./api.js").Card} Card */

export class Readout {
  /** @param {import("./api.js").Me} me @param {import("./keys.js").Keys} keys */
  constructor(me, keys) {
    this.me = me;
    this.keys = keys;
    const { dataset, version, items } = me.queue;
    byId("queue").textContent = dataset;
    byId("queue").title = `${dataset}@${version}, ${number(items)} images`;
    byId("who").textContent = me.person.name;
    this.labels = new Map(me.reasons.map(({ code, label }) => [code, label]));
    this.keyNames();
    byId("refusal-close").addEventListener("click", () => {
      byId("refusal").hidden = true;
    });
  }

  /** Puts the present keys on every button. */
  keyNames() {
    for (const name of document.querySelectorAll("kbd[data-for]")) {
      const action = /** @type {HTMLElement} */ (name).dataset.for ?? "";
      name.textContent = comboName(this.keys.combos.get(action) ?? "");
    }
  }

  /** @param {(code: string) => void} onChoose */
  reasons(onChoose) {
    byId("reasons").replaceChildren(...this.me.reasons.map(({ key, code, label }) => {
      const button = element("button", { type: "button", class: "small", onclick: () => onChoose(code) }, element("kbd", {}, key), ` ${label}`);
      return element("li", {}, button);
    }));
  }

  /** @param {string[]} codes @returns {string} */
  reasonNames(codes) {
    return codes.map((code) => this.labels.get(code) ?? code).join(", ");
  }

  /** What must change together with the image. @param {Card|null} card */
  card(card) {
    const verdict = byId("verdict");
    verdict.className = `verdict ${card?.verdict ?? "none"}`;
    verdict.textContent = card ? this.#verdict(card) : "";
    byId("facts").textContent = card ? `Image ${card.item} · ${card.width} × ${card.height}` : "";
    byId("done").hidden = card !== null;
    for (const button of document.querySelectorAll("[data-do=keep], [data-do=reject], [data-do=crop], [data-do=zoom]")) {
      /** @type {HTMLButtonElement} */ (button).disabled = card === null;
    }
  }

  /** @param {Card} card */
  #verdict({ verdict, reasons, by, mine }) {
    const by_whom = by && by !== this.me.person.name ? ` by ${by}` : "";
    if (verdict === "keep") return `✓ Kept${by_whom}`;
    if (verdict === "reject") return `✕ Rejected${by_whom}${reasons.length ? `: ${this.reasonNames(reasons)}` : ""}`;
    return mine ? `· Undecided; you: ${mine}` : "· Undecided";
  }

  /** What may come after the image has been painted. @param {Card|null} card
   * @param {import("./trail.js").Trail} trail @param {number} decided in this session */
  rest(card, trail, decided) {
    const where = trail.snapshot ? `${number(trail.at + 1)} of ${number(trail.snapshot.order.length)} found` : `${number(trail.left)} left`;
    byId("progress").textContent = `${where} · ${number(decided)} by you now`;
    byId("here").textContent = card?.here.length ? `${card.here.join(", ")} here too` : "";
    byId("done-text").textContent = trail.snapshot ? "No image matches the filter." : "Every image of this queue is decided, or with somebody else.";
    byId("duplicates-count").textContent = card && card.cluster_size > 1 ? `Duplicates ${card.cluster_size}` : "Duplicates";
    const shown = new Set([card?.caption, ...(card?.candidates ?? []).map(({ text }) => text)]);
    const columns = Object.entries(card?.columns ?? {}).filter(([, value]) => !shown.has(/** @type {any} */ (value)));
    byId("scores").replaceChildren(...columns.flatMap(([name, value]) => {
      const text = typeof value === "number" ? number(value) : String(value ?? "none");
      return [element("dt", {}, name), element("dd", {}, text)];
    }));
  }

  /** What the server would not take. @param {string} sentence */
  refused(sentence) {
    byId("refusal").hidden = false;
    byId("refusal-text").textContent = sentence;
  }

  /** @param {string} sentence "" where all is well */
  trouble(sentence) {
    const line = byId("trouble");
    line.hidden = sentence === "";
    if (line.textContent !== sentence) line.textContent = sentence;
  }

  /** @param {import("./send.js").Outbox} outbox */
  unsaved(outbox) {
    const count = outbox.entries.length;
    const why = outbox.state === "ready" ? "" : `, ${outbox.state}`;
    const risk = outbox.kept ? "" : "; a reload loses them";
    const line = byId("unsaved");
    line.textContent = count ? `${count} unsaved${why}${why ? risk : ""}` : "all saved";
    line.classList.toggle("waiting", count > 0 && why !== "");
  }
}
