// Trades a link's token for a session. The token stands after the # of the link, which no server log sees.

import { ApiError, send } from "./api.js";
import { byId } from "./dom.js";

/** @param {string} token @param {string} name */
async function enter(token, name) {
  byId("enter-error").textContent = "";
  byId("enter-button").disabled = true;
  try {
    await send("/api/enter", name ? { token, name } : { token });
    location.replace("/review");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("enter-error").textContent = error.message;
    byId("enter-form").hidden = false;
    byId("entering").hidden = true;
    byId("token").focus();
  }
  byId("enter-button").disabled = false;
}

const token = decodeURIComponent(location.hash.slice(1));
history.replaceState(null, "", location.pathname);
byId("enter-form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  enter(byId("token").value.trim().replace(/^.*#/, ""), byId("name").value.trim());
});
byId("enter-form").hidden = token !== "";
byId("entering").hidden = token === "";
if (token) enter(token, "");
