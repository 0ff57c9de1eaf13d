// What the browser keeps until the server has it: a small table in IndexedDB.

/**
 * @typedef {{uuid: string, order: number, event?: object, undoes?: string}} Entry an event, or (without one) an
 *   undo: of the stroke it names, else of the newest
 */

const TABLE = "unsaved";

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class KeptEntries {
  /** @param {IDBDatabase} database */
  constructor(database) {
    this.database = database;
  }

  /** @param {string} name of the person's part of a queue @returns {Promise<KeptEntries>} */
  static async open(name) {
    const request = indexedDB.open(`mashbill ${name}`, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "uuid" });
    return new KeptEntries(await answer(request));
  }

  /** @returns {Promise<Entry[]>} in the order in which they were made */
  async all() {
    const found = await answer(this.#table("readonly").getAll());
    return found.sort((a, b) => a.order - b.order);
  }

  /** @param {Entry[]} entries all of them or none */
  async put(entries) {
    const table = this.#table("readwrite");
    await Promise.all(entries.map((entry) => answer(table.put(entry))));
  }

  /** @param {string[]} uuids */
  async remove(uuids) {
    const table = this.#table("readwrite");
    await Promise.all(uuids.map((uuid) => answer(table.delete(uuid))));
  }

  /** @param {IDBTransactionMode} mode */
  #table(mode) {
    return this.database.transaction(TABLE, mode).objectStore(TABLE);
  }
}
