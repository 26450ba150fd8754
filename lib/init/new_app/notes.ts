/** Notes, in an SQLite file, and the files that were added to them. */
import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";

let database: DatabaseSync | undefined;

/** Opened when it is used first: a version that does not load has touched nothing. */
function open(): DatabaseSync {
  if (database === undefined) {
    mkdirSync("data/files", { recursive: true });
    database = new DatabaseSync("data/notes.db");
    // The old version and the new one have it open during a reload.
    database.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000");
    database.exec(`CREATE TABLE IF NOT EXISTS notes (
      id INTEGER PRIMARY KEY,
      text TEXT NOT NULL,
      file TEXT, -- its name in data/files
      fileName TEXT -- as it was uploaded
    )`);
  }
  return database;
}

/** Adds a note. A file is kept under a name of our own: that of a client could lead anywhere. */
export async function addNote(text: string, upload?: File): Promise<void> {
  const notes = open();
  const file = upload ? randomUUID() : null;
  if (upload) await writeFile(`data/files/${file}`, new Uint8Array(await upload.arrayBuffer()));
  notes.prepare("INSERT INTO notes (text, file, fileName) VALUES (?, ?, ?)")
    .run(text, file, upload?.name ?? null);
}

/** A note as it is listed. */
export interface Note {
  readonly id: number;
  readonly text: string;
  readonly fileName: string | null;
}

/** The newest notes. */
export function listNotes(): Note[] {
  const rows = open().prepare("SELECT id, text, fileName FROM notes ORDER BY id DESC LIMIT 50");
  return rows.all() as unknown as Note[];
}

/** The file of a note. */
export async function readFileOf(
  id: number,
): Promise<{ name: string; bytes: Uint8Array<ArrayBuffer> } | undefined> {
  const row = open().prepare("SELECT file, fileName AS name FROM notes WHERE id = ?").get(id);
  if (!row?.file) return undefined;
  return {
    name: String(row.name),
    bytes: new Uint8Array(await readFile(`data/files/${row.file}`)),
  };
}
