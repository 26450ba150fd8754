/** Notes, in an SQLite file. */
import { DatabaseSync } from "node:sqlite";

let database: DatabaseSync | undefined;

/** Opened when it is used first: a version that does not load has touched nothing. */
function open(): DatabaseSync {
  if (database === undefined) {
    database = new DatabaseSync("data/notes.db");
    // The old version and the new one have it open during a reload.
    database.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000");
    database.exec("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)");
  }
  return database;
}

export function addNote(text: string): void {
  open().prepare("INSERT INTO notes (text) VALUES (?)").run(text);
}

export interface Note {
  readonly id: number;
  readonly text: string;
}

export function listNotes(): Note[] {
  const rows = open().prepare("SELECT id, text FROM notes ORDER BY id DESC LIMIT 50").all();
  return rows as unknown as Note[];
}
