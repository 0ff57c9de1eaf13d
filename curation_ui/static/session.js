// What every page begins with: who is here.

import { ApiError, get } from "./api.js";
import { byId, say } from "./dom.js";
import { KeptEntries } from "./kept.js";

const RETRY_MS = 3000;

/** Asks who is here, then begins; to the entrance where nobody is. @param {(me: import("./api.js").Me) => Promise<void>} work */
export async function begin(work) {
  let me;
  try {
    me = await get("/api/me");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return location.replace("/enter");
    say(`${error.message} Trying again.`);
    setTimeout(() => begin(work), RETRY_MS);
    return;
  }
  byId("who").textContent = me.person.name;
  byId("queue").textContent = me.queue.dataset;
  await work(me);
  document.documentElement.dataset.ready = "yes";
}

/** Where this browser keeps what the server does not have yet; null where it keeps nothing, which the page says.
 * @param {import("./api.js").Me} me @returns {Promise<KeptEntries|null>} */
export async function openKept({ queue, person }) {
  try {
    return await KeptEntries.open(`${queue.dataset}@${queue.version} ${person.id}`);
  } catch {
    return null;
  }
}

/** The words behind the # of the address. @returns {URLSearchParams} */
export function place() {
  return new URLSearchParams(location.hash.slice(1));
}

/** A page's address with such words; empty ones are left out. @param {string} path @param {Object<string, string|number>} words */
export function addressOf(path, words) {
  const said = Object.entries(words).filter(([, value]) => value !== "");
  const text = new URLSearchParams(said.map(([name, value]) => [name, String(value)])).toString();
  return text ? `${path}#${text}` : path;
}
