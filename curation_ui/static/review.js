// The review page begins here.

import { ApiError, get } from "./api.js";
import { arrive } from "./arrive.js";
import { say } from "./dom.js";
import { KeptEntries } from "./kept.js";
import { RETRY_MS, Review } from "./reviewing.js";

/** @param {string} name @returns {Promise<KeptEntries|null>} null where the browser keeps nothing, which the page says */
async function openKept(name) {
  try {
    return await KeptEntries.open(name);
  } catch {
    return null;
  }
}

async function start() {
  let me;
  try {
    me = await get("/api/me");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return location.replace("/enter");
    say(`${error.message} Trying again.`);
    return setTimeout(start, RETRY_MS);
  }
  const kept = await openKept(`${me.queue.dataset}@${me.queue.version} ${me.person.id}`);
  const review = new Review(me, kept);
  await review.outbox.resume();
  await arrive(review);
  document.documentElement.dataset.ready = "yes";
  await review.filter.offerColumns();
}

start();
