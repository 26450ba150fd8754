/** The entries, in one SQLite file that two generations of the app share during a reload. */
import { DatabaseSync } from "node:sqlite";
import * as z from "zod";

const Entry = z.object({
  id: z.number().int().positive(),
  name: z.string(),
  message: z.string(),
  photo: z.string().nullable(),
  thumbnail: z.string().nullable(),
  width: z.number().int().positive().nullable(),
  height: z.number().int().positive().nullable(),
  createdMs: z.number().int(),
});
/**
 * One signed entry. `photo` and `thumbnail` are names of files in the photo folder; an entry from
 * the time before there were thumbnails has a photo alone, and one from before its size was kept has
 * no `width` and `height`, which are those of the thumbnail.
 */
export type Entry = z.infer<typeof Entry>;

export interface NewEntry {
  name: string;
  message: string;
  photo: string | null;
  thumbnail: string | null;
  width: number | null;
  height: number | null;
}

/**
 * Index n takes the schema from version n to n + 1. A step may only add: the generation before
 * this one still reads and writes the same tables until its drain ends.
 */
const MIGRATIONS = [
  `CREATE TABLE entries (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     name TEXT NOT NULL,
     message TEXT NOT NULL,
     photo TEXT,
     created_ms INTEGER NOT NULL
   ) STRICT`,
  `ALTER TABLE entries ADD COLUMN thumbnail TEXT`,
  `ALTER TABLE entries ADD COLUMN width INTEGER; ALTER TABLE entries ADD COLUMN height INTEGER`,
];

const COLUMNS = "id, name, message, photo, thumbnail, width, height, created_ms AS createdMs";

export class Store implements Disposable {
  #database: DatabaseSync;

  constructor(path: string, maxBytes: number) {
    this.#database = new DatabaseSync(path);
    // The timeout comes first, because the other pragmas already take locks. Temporary tables stay
    // in memory: the sandbox has no /tmp.
    this.#database.exec(`
      PRAGMA busy_timeout=5000;
      PRAGMA journal_mode=WAL;
      PRAGMA synchronous=NORMAL;
      PRAGMA foreign_keys=ON;
      PRAGMA temp_store=MEMORY;
    `);
    this.#migrate();
    const pageBytes = Number(this.#database.prepare("PRAGMA page_size").get()?.page_size);
    this.#database.exec(`PRAGMA max_page_count=${Math.floor(maxBytes / pageBytes)}`);
  }

  /** Adds an entry and returns its id. Ids grow in commit order, which live pages rely on. */
  add({ name, message, photo, thumbnail, width, height }: NewEntry, nowMs: number): number {
    const { lastInsertRowid } = this.#database
      .prepare(
        "INSERT INTO entries (name, message, photo, thumbnail, width, height, created_ms) " +
          "VALUES (?, ?, ?, ?, ?, ?, ?)",
      )
      .run(name, message, photo, thumbnail, width, height, nowMs);
    return Number(lastInsertRowid);
  }

  /** Newest first. `beforeId` continues where an earlier page ended. */
  list(limit: number, beforeId = Number.MAX_SAFE_INTEGER): Entry[] {
    return this.#database
      .prepare(`SELECT ${COLUMNS} FROM entries WHERE id < ? ORDER BY id DESC LIMIT ?`)
      .all(beforeId, limit).map((row) => Entry.parse(row));
  }

  /** Oldest first, only entries that came after `afterId`. */
  listAfter(afterId: number, limit: number): Entry[] {
    return this.#database
      .prepare(`SELECT ${COLUMNS} FROM entries WHERE id > ? ORDER BY id LIMIT ?`)
      .all(afterId, limit).map((row) => Entry.parse(row));
  }

  /** The id of the newest entry, 0 when there is none. */
  newestId(): number {
    return Number(this.#database.prepare("SELECT max(id) AS id FROM entries").get()?.id ?? 0);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  #migrate(): void {
    // IMMEDIATE, so that of two workers that start together one migrates and the other waits.
    this.#database.exec("BEGIN IMMEDIATE");
    const row = this.#database.prepare("PRAGMA user_version").get();
    const version = Number(row?.user_version);
    for (const step of MIGRATIONS.slice(version)) this.#database.exec(step);
    // After a rollback the file may be ahead of this code. Steps only add, so that is fine.
    if (version < MIGRATIONS.length) {
      this.#database.exec(`PRAGMA user_version=${MIGRATIONS.length}`);
    }
    this.#database.exec("COMMIT");
  }
}

/** SQLite's primary result codes: busy, locked, readonly, io error, full, cannot open. */
const SQLITE_TROUBLE = new Set([5, 6, 8, 10, 13, 14]);
const FILE_TROUBLE = new Set(["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO"]);

/** Whether the error says that nothing can be stored at present, rather than that we have a bug. */
export function isStorageTrouble(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ("errcode" in error && typeof error.errcode === "number") {
    // The low byte is the primary code; the rest only refines it. Deno fills it in for statements,
    // not for `exec`, which no request uses.
    return SQLITE_TROUBLE.has(error.errcode & 0xff);
  }
  return "code" in error && typeof error.code === "string" && FILE_TROUBLE.has(error.code);
}
