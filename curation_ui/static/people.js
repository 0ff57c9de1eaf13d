// Who may come in: invitations, and how everybody gets on.

import { ApiError, get, send } from "./api.js";
import { share } from "./charts.js";
import { byId, element, number, say } from "./dom.js";
import { begin } from "./session.js";

const OWNER = 1;

/** @typedef {{id: number, name: string, role: string, decided: number, per_hour: number, keep_share: number|null,
 *   agreement: number|null, votes_compared: number}} Line */

class People {
  /** @param {import("./api.js").Me} me */
  constructor(me) {
    this.me = me.person.id;
    /** @type {Line|null} */
    this.leaving = null;
    byId("invite").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#invite();
    });
    byId("invited-copy").addEventListener("click", () => this.#copy());
    byId("remove-cancel").addEventListener("click", () => byId("remove").close());
    byId("remove-do").addEventListener("click", () => this.#remove());
  }

  async load() {
    try {
      const { people } = await get("/api/people");
      byId("people").replaceChildren(...people.map((/** @type {Line} */ line) => this.#row(line)));
      byId("trouble").hidden = true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("trouble").hidden = false;
      byId("trouble").textContent = error.message;
    }
  }

  /** @param {Line} line */
  #row(line) {
    const { id, name, role, decided, per_hour: perHour, keep_share: kept, agreement, votes_compared: compared } = line;
    const agrees = agreement === null ? "nothing to compare" : `${share(agreement, 1)} of ${number(compared)}`;
    const cells = [role, number(decided), decided ? number(Math.round(perHour)) : "", decided ? share(kept ?? 0, 1) : "", agrees];
    const button = id === OWNER || id === this.me ? "" : element("button", { type: "button", class: "small", "aria-label": `Remove ${name}`, onclick: () => this.#ask(line) }, "Remove");
    return element("tr", {}, element("th", { scope: "row", dir: "auto" }, id === this.me ? `${name} (you)` : name), ...cells.map((cell) => element("td", {}, cell)), element("td", {}, button));
  }

  async #invite() {
    const name = byId("invite-name").value.trim(), role = byId("invite-role").value;
    byId("invite-error").textContent = "";
    byId("invite-button").disabled = true;
    try {
      const { link } = await send("/api/people", { name, role });
      byId("invited").hidden = false;
      byId("invited-label").textContent = `Send this link to ${name} (${role})`;
      byId("invited-link").value = link;
      byId("invited-link").focus();
      byId("invited-link").select();
      byId("invite-name").value = "";
      await this.load();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("invite-error").textContent = error.message;
    }
    byId("invite-button").disabled = false;
  }

  async #copy() {
    byId("invited-link").select();
    try {
      await navigator.clipboard.writeText(byId("invited-link").value);
      say("Copied.");
    } catch {
      say("The browser does not allow copying: press Ctrl+C."); // over plain HTTP there is no clipboard
    }
  }

  /** @param {Line} line */
  #ask(line) {
    this.leaving = line;
    byId("remove-title").textContent = `Remove ${line.name}?`;
    byId("remove").showModal();
    byId("remove-title").focus();
  }

  async #remove() {
    const line = this.leaving;
    byId("remove").close();
    if (!line) return;
    try {
      await send(`/api/people/${line.id}`, {}, { method: "DELETE" });
      say(`${line.name} was removed.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(error.message);
    }
    await this.load();
    byId("invite-name").focus();
  }
}

begin((me) => new People(me).load());
