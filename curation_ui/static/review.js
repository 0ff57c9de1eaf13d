// The review page begins here.

import { ApiError, get } from "./api.js";
import { arrive } from "./arrive.js";
import { say } from "./dom.js";
import { openKept } from "./session.js";
import { RETRY_MS, Review } from "./reviewing.js";

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
  const kept = await openKept(me);
  const review = new Review(me, kept);
  await review.outbox.resume();
  await arrive(review);
  document.documentElement.dataset.ready = "yes";
  await review.filter.offerColumns();
}

start();
