// What the server said about decisions, and what the page makes of it.

import { ApiError, get } from "./api.js";
import { say } from "./dom.js";

/**
 * @typedef {import("./api.js").Card} Card
 * @typedef {import("./send.js").Decision} Decision
 * @typedef {{trail: import("./trail.js").Trail, ledger: import("./ledger.js").Ledger,
 *   conflicts: import("./conflict.js").Conflicts, readout: import("./readout.js").Readout,
 *   refresh: () => void, goTo: (card: Card) => void}} Page
 */

/** @param {Page} page @param {Decision[]} sent @param {import("./send.js").Result[]} results */
export function acknowledged(page, sent, results) {
  const byUuid = new Map(sent.map((event) => [event.uuid, event]));
  for (const { uuid, status, card_state: state, theirs } of results) {
    if (status === "conflict") page.ledger.drop(uuid);
    const mine = byUuid.get(uuid), card = mine && page.trail.known.get(mine.item);
    if (!mine || !card) continue; // of an earlier page: the server has it, nothing shows it
    page.ledger.settle(card, state);
    if (status === "conflict") page.conflicts.add({ card, mine, theirs: theirs ?? null });
    if (status === "second_opinion") say(`Image ${card.item} was decided before you; yours is kept as a second opinion.`);
    if (card === page.trail.current) page.refresh();
  }
}

/**
 * @param {Page} page
 * @param {{undone: {kind: string, count: number}, states: {item: number}[], kept?: number[]}} answer
 */
export async function undone(page, { undone, states, kept }) {
  if (kept?.length) say(`${kept.length === 1 ? "1 image stays" : `${kept.length} images stay`}: somebody changed ${kept.length === 1 ? "it" : "them"} since.`);
  for (const state of states) {
    const card = page.trail.known.get(state.item);
    if (card) page.ledger.settle(card, state);
  }
  if (page.trail.current) page.refresh();
  const first = states[0];
  if (!first || page.trail.known.has(first.item)) return;
  const card = await fresh(page, first.item);
  if (card) page.goTo(card);
  say(`Undone: ${undone.kind} of ${undone.count === 1 ? "an image" : `${undone.count} images`}.`);
}

/** @param {Page} page @param {string} message @param {import("./kept.js").Entry} entry */
export async function refused(page, message, entry) {
  const event = /** @type {Decision|undefined} */ (entry.event);
  if (event) {
    page.ledger.drop(event.uuid);
    page.readout.refused(`Not saved (${event.kind} of image ${event.item}): ${message}`);
  } else say(message);
  const item = event?.item ?? page.trail.current?.item; // an undo went to the image that it was about
  if (item === undefined) return;
  const card = await fresh(page, item);
  if (card && card === page.trail.current) page.refresh();
}

/** A card as the server has it now. @param {Page} page @param {number} item @returns {Promise<Card|null>} */
async function fresh(page, item) {
  try {
    const { cards } = await get(`/api/cards?items=${item}`);
    const known = page.trail.known.get(item);
    return known ? Object.assign(known, cards[0], { mine: null }) : page.trail.meet(cards[0]);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    say(error.message);
    return null;
  }
}
