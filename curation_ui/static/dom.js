// Elements made of text, never of markup: what people and crawls wrote stays text.

/** @param {string} id @returns {any} the element, which the page must have */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}.`);
  return found;
}

/**
 * @param {string} tag
 * @param {Object<string, any>} properties `class` and names with a dash become attributes, `on...` listeners,
 *   the rest properties
 * @param {...(Node|string|null)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class" || name === "role" || name.includes("-")) made.setAttribute(name, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else Reflect.set(made, name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** @param {number} value a number for people: grouped, at most four digits after the point */
export function number(value) {
  return value.toLocaleString("en-US", { maximumFractionDigits: 4 });
}

let announced = 0;

/** Says a sentence in the page's status line, which screen readers read. @param {string} text */
export function say(text) {
  const line = byId("said");
  line.textContent = text;
  line.classList.add("shown");
  clearTimeout(announced);
  announced = setTimeout(() => line.classList.remove("shown"), 4000);
}

/** Runs work after the next frame has been painted. @param {() => void} work */
export function afterPaint(work) {
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = work;
    channel.port2.postMessage(null);
  });
}
