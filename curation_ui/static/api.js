// Requests to the server, and what it answers.

/**
 * @typedef {{id: string, name: string, role: "annotator"|"curator"|"admin"}} Person
 * @typedef {{key: string, code: string, label: string}} Reason
 * @typedef {{name: string, limit: number}} Encoder
 * @typedef {{person: Person, queue: {dataset: string, version: string, items: number}, left?: number,
 *   reasons: Reason[], tokens: Encoder[], keys: Object<string, string>, single_keys?: boolean,
 *   aspects?: number[], votes_required: number}} Me
 * @typedef {[number, number, number, number]} Box left, top, right, bottom in pixels of the upright image
 * @typedef {{text: string, by: string}} Candidate
 * @typedef {{item: number, sample_id: string, width: number, height: number, image: string, thumb: string,
 *   caption: string, caption_original: string, prompt: string|null, candidates: Candidate[],
 *   tokens: Object<string, number>, crop: Box|null, crops: {box: Box, by: string}[],
 *   cluster: string|null, cluster_size: number, columns: Object<string, number|string|boolean|null>,
 *   verdict: null|"keep"|"reject", mine?: null|"keep"|"reject", reasons: string[], version: number, by: string|null,
 *   here: string[]}} Card
 */

const ANSWER_MS = 20_000;

/** A request that was answered with an error, or (status 0) not at all. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status, 0 where no answer came
   * @param {string} message the server's sentence
   * @param {number} retryAfter seconds the server asks to wait, 0 where it did not
   */
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** @param {string} path @param {RequestInit} options @returns {Promise<Response>} of status 200 to 299 */
async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", signal: AbortSignal.timeout(ANSWER_MS), ...options });
  } catch (error) {
    throw new ApiError(0, `The server did not answer (${/** @type {Error} */ (error).name}).`);
  }
  if (response.ok) return response;
  let sentence = `The server answered ${response.status}.`;
  try {
    sentence = (await response.json()).error ?? sentence;
  } catch {
    // A proxy's page instead of our JSON: the status says enough.
  }
  throw new ApiError(response.status, sentence, Number(response.headers.get("Retry-After")) || 0);
}

/** @param {string} path */
export async function get(path) {
  return (await request(path, {})).json();
}

/** @param {string} path @returns {Promise<ArrayBuffer>} */
export async function getBytes(path) {
  return (await request(path, {})).arrayBuffer();
}

/** @param {string} path @param {object} body @param {{method?: string, keepalive?: boolean}} options */
export async function send(path, body, { method = "POST", keepalive = false } = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await request(path, { method, headers, keepalive, body: JSON.stringify(body) })).json();
}

/** A random UUID, version 4. `crypto.randomUUID` is missing where a page came over plain HTTP from another host. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
