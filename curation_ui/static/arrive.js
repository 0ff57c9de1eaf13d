// Where the review page begins: at the queue, or at what a link from another page names.

import { ApiError, get } from "./api.js";
import { byId, number, say } from "./dom.js";
import { place } from "./session.js";

/** @typedef {{trail: import("./trail.js").Trail, restart: () => Promise<void>, goTo: (card: import("./api.js").Card) => void}} Page */

/** Begins; the address may say `item`, and `query` and `sort` of the set it stands in. @param {Page} page */
export async function arrive(page) {
  const said = place(), item = said.get("item"), query = said.get("query") ?? "", sort = said.get("sort") ?? "";
  try {
    if (query || sort) await useSet(page, query, sort, Number(item ?? -1));
    await page.restart();
    if (item !== null && page.trail.current?.item !== Number(item)) {
      const { cards } = await get(`/api/cards?items=${encodeURIComponent(item)}`);
      page.goTo(page.trail.meet(cards[0]));
    }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    say(error.message);
    await page.restart();
  }
}

/** A filtered set, from an item on and then from its beginning. @param {Page} page @param {string} query
 * @param {string} sort @param {number} item */
async function useSet({ trail }, query, sort, item) {
  const count = await trail.useFilter(query, sort);
  const { snapshot } = trail;
  const at = snapshot ? Math.max(0, snapshot.order.indexOf(item)) : 0;
  if (snapshot && at > 0) {
    const turned = new Uint32Array(snapshot.order.length);
    turned.set(snapshot.order.subarray(at));
    turned.set(snapshot.order.subarray(0, at), turned.length - at);
    snapshot.order = turned;
  }
  byId("query").value = query;
  byId("filter-clear").hidden = false;
  byId("query-count").textContent = `${number(count)} found`;
}
