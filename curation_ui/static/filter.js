// A filtered and sorted set instead of the queue.

import { ApiError, get } from "./api.js";
import { byId, element, number, say } from "./dom.js";

export class Filter {
  /** @param {import("./trail.js").Trail} trail @param {() => Promise<void>} onChange told when the trail is another */
  constructor(trail, onChange) {
    this.trail = trail;
    this.onChange = onChange;
    byId("filter").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#apply();
    });
    byId("sort").addEventListener("change", () => this.#apply());
    byId("filter-clear").addEventListener("click", () => this.#clear());
    byId("query").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") byId("query").blur();
    });
  }

  /** Offers every column of numbers to sort by. */
  async offerColumns() {
    /** @type {{name: string, type: string}[]} */
    let columns = [];
    try {
      ({ columns } = await get("/api/columns"));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(`The columns to sort by are not known: ${error.message}`);
    }
    const numbers = columns.filter((column) => column.type === "number");
    for (const { name } of numbers) {
      byId("sort").append(element("option", { value: name }, `${name}, low first`), element("option", { value: `-${name}` }, `${name}, high first`));
    }
  }

  async #apply() {
    const query = byId("query").value.trim(), sort = byId("sort").value;
    if (!query && !sort) return this.#clear();
    byId("query-error").textContent = "";
    byId("query").removeAttribute("aria-invalid");
    try {
      const count = await this.trail.useFilter(query, sort);
      byId("filter-clear").hidden = false;
      byId("query-count").textContent = `${number(count)} found`;
      byId("query").blur();
      await this.onChange();
      say(`${number(count)} images match.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("query-error").textContent = error.message;
      if (error.status === 400) byId("query").setAttribute("aria-invalid", "true");
    }
  }

  async #clear() {
    byId("query").value = "";
    byId("sort").value = "";
    byId("query-count").textContent = "";
    byId("query-error").textContent = "";
    byId("query").removeAttribute("aria-invalid");
    byId("filter-clear").hidden = true;
    if (!this.trail.snapshot) return;
    this.trail.useQueue();
    await this.onChange();
  }
}
