// Keeps the leases of a person who is there: the page is visible and somebody touched it within a minute.

import { ApiError, send } from "./api.js";

const EVERY_MS = 30_000;
const THERE_MS = 60_000;

/**
 * @param {import("./trail.js").Trail} trail
 * @param {() => void} onLost told when cards left the trail because their lease ran out
 */
export function keepLeases(trail, onLost) {
  let touched = performance.now();
  const touch = () => {
    touched = performance.now();
  };
  for (const kind of ["keydown", "pointerdown", "pointermove"]) document.addEventListener(kind, touch, { passive: true });
  const isThere = () => document.visibilityState === "visible" && performance.now() - touched < THERE_MS;
  const beat = async () => {
    if (!isThere()) return;
    for (const lease of trail.openLeases()) {
      try {
        await send("/api/queue/renew", { lease, item: trail.current?.item ?? null });
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (![403, 404, 409, 410].includes(error.status)) return; // no answer: the next beat tries again
        trail.drop(lease);
        onLost();
      }
    }
  };
  setInterval(beat, EVERY_MS);
  document.addEventListener("visibilitychange", () => {
    touch();
    beat();
  });
  addEventListener("pagehide", () => trail.release().catch(() => {})); // leases end by themselves as well
}
