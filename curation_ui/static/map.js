// The map page; what draws comes only where there is something to draw.

import { ApiError, get } from "./api.js";
import { byId } from "./dom.js";
import { begin } from "./session.js";

begin(async () => {
  try {
    const { columns } = await get("/api/map");
    byId("none").hidden = columns.length > 0;
    if (columns.length === 0) return;
    const { open } = await import("./map_page.js");
    await open(columns);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("trouble").hidden = false;
    byId("trouble").textContent = error.message;
  }
});
