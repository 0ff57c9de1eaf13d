// Two images, one question. Both are decoded before either is shown, and only then can be voted on.

import { ApiError, get, send, uuid } from "./api.js";
import { Ballots } from "./ballots.js";
import { byId, element, say } from "./dom.js";

/**
 * @typedef {{trial: string, position: number, practice: boolean, left: string, right: string, width: number,
 *   height: number, prompt?: string}} Trial
 * @typedef {{name: string, text: string, choices: string[]}} Question
 * @typedef {{left: HTMLImageElement, right: HTMLImageElement, ms: number}} Decoded
 * @typedef {{trial: Trial, question: Question, images: Promise<Decoded>|null}} Ready
 */

const ASKED = 6;
const AHEAD = 2; // trials decoded before they are needed, four images: the browser fetches six at once at most
const HELD_MS = 5000; // a vote can be taken back until the next one, or for so long
const RENEW_MS = 120_000;
const AGAIN_MS = 3000;
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "both", ArrowUp: "none", Escape: "skip" };

/** @type {Ready[]} */
let queue = [];
/** @type {Ready|null} */
let current = null;
/** @type {{ready: Ready, choice: string, rt: number, ms: number, timer: number}|null} */
let held = null;
let shownAt = 0;
let decodedMs = 0;
let inBlock = 0;
let pass = "";
let layout = "side";
let block = 50;
/** @type {Promise<void>|null} */
let asking = null;
/** @type {Set<string>} */
const seen = new Set();

const ballots = new Ballots((count) => {
  byId("unsaved").textContent = count ? `${count} unsaved` : "";
  byId("unsaved").classList.toggle("waiting", count > 1);
}, fail);

/** @param {string} message */
function fail(message) {
  byId("error").textContent = message;
  byId("error").hidden = !message;
}

/** A page of words with one button. @param {string} title @param {string[]} lines @param {string} button "" for none @param {() => void} then */
function note(title, lines, button, then) {
  byId("arena").hidden = true;
  byId("note").hidden = false;
  byId("note-title").textContent = title;
  byId("note-text").replaceChildren(...lines.map((line) => element("p", {}, line)));
  byId("note-button").hidden = !button;
  byId("note-button").textContent = button;
  byId("note-button").onclick = then;
  byId("note-title").focus();
}

/** @param {string} url @returns {Promise<HTMLImageElement>} decoded */
async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/** @param {Trial} trial */
async function both(trial) {
  const start = performance.now();
  const [left, right] = await Promise.all([load(trial.left), load(trial.right)]);
  left.alt = "Image A";
  right.alt = "Image B";
  return { left, right, ms: Math.round(performance.now() - start) };
}

/** Asks for trials. Who asks while an answer is on its way gets that one. @returns {Promise<void>} */
function refill() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

async function ask() {
  const { question, trials, progress } = await send("/api/study/next", { count: ASKED });
  byId("progress").textContent = `${progress.done} answered, up to ${progress.left} to go`;
  for (const trial of trials) {
    if (!seen.has(trial.trial)) queue.push({ trial, question, images: null });
    seen.add(trial.trial);
  }
  warm();
}

/** Decodes what comes next. */
function warm() {
  for (const ready of queue.slice(0, AHEAD)) fetchBoth(ready);
}

/** @param {Ready} ready @returns {Promise<Decoded>} */
function fetchBoth(ready) {
  if (!ready.images) {
    ready.images = both(ready.trial);
    ready.images.catch(() => undefined); // told when its turn comes
  }
  return ready.images;
}

/** Shows what comes next: a trial, a pause, another question, or the end. */
async function next() {
  current = null;
  lock(true);
  if (queue.length) {
    if (queue.length <= AHEAD) refill().catch(() => undefined); // asked again after the next
  } else {
    try {
      await refill();
      fail("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fail(`${error.message} Trying again.`);
      setTimeout(next, AGAIN_MS);
      return;
    }
  }
  const ready = queue[0];
  if (!ready) return finish();
  if (ready.question.name !== pass) return introduce(ready.question, ready.trial);
  if (inBlock >= block) {
    inBlock = 0;
    release();
    return note("Time for a pause", ["Look away from the screen for a moment.", "Everything you answered is kept."], "Go on", next);
  }
  queue.shift();
  warm();
  await show(ready);
}

/** Sends what is held, and looks once more: only then is there another question, or a place that got free. */
async function finish() {
  if (held) {
    await release();
    return next();
  }
  if (ballots.waiting.length) {
    note("Sending your last answers", ["Keep this page open."], "", () => undefined);
    setTimeout(next, 1000);
    return;
  }
  note("That was all", ["Thank you. You may close this page."], "Look again", next);
}

/** @param {Question} question @param {Trial} trial */
function introduce(question, trial) {
  pass = question.name;
  release();
  const prompt = trial.prompt === undefined ? "You will see two images, and not the words they were made from." : "You will see two images and the words they should show.";
  const same = question.choices.includes("both") ? " Down arrow: both the same." : "";
  const none = question.choices.includes("none") ? " Up arrow: none is good." : "";
  const lines = [prompt, `Left or right arrow: that one.${same}${none} Space looks closer. Esc skips.`];
  if (trial.practice) lines.push("The first ones are practice: you are told whether you were right, and they do not count.");
  note(question.text, lines, "Begin", next);
}

/** @param {Ready} ready */
async function show(ready) {
  byId("note").hidden = true;
  byId("arena").hidden = false;
  byId("question").textContent = ready.question.text + (ready.trial.practice ? " (practice)" : "");
  byId("prompt").hidden = ready.trial.prompt === undefined;
  byId("prompt").textContent = ready.trial.prompt ?? "";
  for (const button of answers()) button.hidden = !ready.question.choices.includes(button.dataset.choice ?? "");
  byId("left").replaceChildren();
  byId("right").replaceChildren();
  byId("loading").hidden = false;
  look(false);
  let images;
  try {
    images = await fetchBoth(ready);
  } catch {
    fail("An image did not load. Trying again.");
    ready.images = null;
    setTimeout(() => show(ready), AGAIN_MS);
    return;
  }
  fail("");
  byId("loading").hidden = true;
  byId("left").append(images.left);
  byId("right").append(images.right);
  byId("question").focus();
  requestAnimationFrame(() => {
    current = ready;
    shownAt = performance.now();
    decodedMs = images.ms;
    lock(false);
  });
}

/** @returns {HTMLButtonElement[]} */
function answers() {
  return Array.from(byId("answers").children);
}

/** @param {boolean} locked */
function lock(locked) {
  for (const button of answers()) {
    button.disabled = locked;
    button.classList.remove("chosen");
  }
  byId("skip").disabled = locked;
  byId("back").disabled = locked || held === null;
}

/** @param {string} choice */
async function answer(choice) {
  const ready = current;
  if (!ready || (choice !== "skip" && !ready.question.choices.includes(choice))) return;
  current = null;
  const rt = Math.round(performance.now() - shownAt);
  release();
  inBlock += 1;
  if (ready.trial.practice) return practiced(ready, choice, rt);
  held = { ready, choice, rt, ms: decodedMs, timer: setTimeout(release, HELD_MS) };
  await next();
}

/** @param {Ready} ready @param {string} choice @param {number} rt */
async function practiced(ready, choice, rt) {
  lock(true);
  answers().find((button) => button.dataset.choice === choice)?.classList.add("chosen");
  const said = await ballots.add(ballot(ready, choice, rt, decodedMs));
  const right = said?.right;
  if (right !== undefined && right !== null) say(right ? "Right." : "The other one was the better: this one was spoiled on purpose.");
  setTimeout(next, right === false ? 1600 : 700);
}

/** @param {Ready} ready @param {string} choice @param {number} rt @param {number} ms */
function ballot(ready, choice, rt, ms) {
  const viewport = /** @type {[number, number]} */ ([innerWidth, innerHeight]);
  const at = new Date().toISOString();
  return { uuid: uuid(), trial: ready.trial.trial, choice, rt_ms: rt, decoded_ms: ms, viewport, dpr: devicePixelRatio, at };
}

/** The held vote goes to the server; it cannot be taken back any more. */
async function release() {
  if (!held) return;
  const { ready, choice, rt, ms, timer } = held;
  clearTimeout(timer);
  held = null;
  byId("back").disabled = true;
  await ballots.add(ballot(ready, choice, rt, ms));
}

/** Takes the held vote back and shows its pair again. */
function back() {
  if (!held || !current) return;
  clearTimeout(held.timer);
  queue.unshift(held.ready, current);
  held = null;
  inBlock -= 1;
  next();
}

/** Zoom to pixels in both images at once, or in the flip layout the other image. @param {boolean} on */
function look(on) {
  const pair = byId("pair");
  byId("look").setAttribute("aria-pressed", String(on));
  if (layout === "flip") {
    byId("left").parentElement.classList.toggle("away", on);
    byId("right").parentElement.classList.toggle("away", !on);
    return;
  }
  pair.classList.toggle("zoomed", on);
  for (const image of pair.querySelectorAll("img")) {
    const fit = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
    image.style.transform = on ? `scale(${Math.max(2, 1 / fit)})` : "";
    if (!on) image.style.transformOrigin = "";
  }
}

/** Both images show the place under the pointer. @param {PointerEvent} event */
function follow(event) {
  const view = /** @type {HTMLElement} */ (event.target).closest(".view");
  if (!view || !byId("pair").classList.contains("zoomed")) return;
  const box = view.getBoundingClientRect();
  move((100 * (event.clientX - box.left)) / box.width, (100 * (event.clientY - box.top)) / box.height);
}

/** @param {number} x percent of the width @param {number} y */
function move(x, y) {
  const at = `${Math.min(100, Math.max(0, x))}% ${Math.min(100, Math.max(0, y))}%`;
  for (const image of byId("pair").querySelectorAll("img")) image.style.transformOrigin = at;
}

/** @param {KeyboardEvent} event */
function heard(event) {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (byId("arena").hidden) {
    if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement)) byId("note-button").click();
    return;
  }
  if (event.shiftKey && event.key.startsWith("Arrow") && byId("pair").classList.contains("zoomed")) {
    const [x, y] = (byId("pair").querySelector("img")?.style.transformOrigin || "50% 50%").split(" ").map(parseFloat);
    const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key] ?? [0, 0];
    move(x + step[0], y + step[1]);
  } else if (event.shiftKey) return;
  else if (event.key in KEYS) answer(KEYS[/** @type {keyof typeof KEYS} */ (event.key)]);
  else if (event.key === "Backspace") back();
  else if (event.key === " " && !(event.target instanceof HTMLButtonElement)) look(!pressed());
  else return;
  event.preventDefault();
}

function pressed() {
  return byId("look").getAttribute("aria-pressed") === "true";
}

async function start() {
  let study;
  try {
    study = await get("/api/study");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return location.replace("/enter");
    fail(`${error.message} Trying again.`);
    return setTimeout(start, AGAIN_MS);
  }
  fail("");
  layout = study.layout;
  block = study.block;
  byId("pair").classList.toggle("flip", layout === "flip");
  byId("look-label").textContent = layout === "flip" ? "The other image" : "Zoom";
  ballots.flush();
  if (study.consented) return next();
  note("Before you begin", [study.consent], "I agree", async () => {
    await send("/api/study/consent", { agree: true });
    next();
  });
}

document.addEventListener("keydown", heard);
byId("answers").addEventListener("click", (/** @type {any} */ event) => {
  const choice = event.target.closest("button")?.dataset.choice;
  if (choice) answer(choice);
});
byId("skip").addEventListener("click", () => answer("skip"));
byId("back").addEventListener("click", back);
byId("look").addEventListener("click", () => look(!pressed()));
byId("pair").addEventListener("click", (/** @type {any} */ event) => {
  if (event.target.closest(".view") && layout === "side") {
    look(!pressed());
    follow(event);
  }
});
byId("pair").addEventListener("pointermove", follow);
addEventListener("pagehide", () => {
  release();
  ballots.flush(true);
});
setInterval(() => {
  if (document.visibilityState === "visible" && current) refill().catch(() => undefined); // the next call says so
}, RENEW_MS);
start();
