/** The messages, in an SQLite file. */
import { DatabaseSync } from "node:sqlite";

/** How many of the last ones somebody new is shown. */
const SHOWN = 50;

export interface Message {
  readonly id: number;
  readonly text: string;
}

export function openMessages(path: string) {
  const database = new DatabaseSync(path);
  database.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL");
  database.exec("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, text TEXT NOT NULL)");
  const insert = database.prepare("INSERT INTO messages (text) VALUES (?)");
  const later = database.prepare(
    `SELECT id, text FROM messages WHERE id > max(?, (SELECT coalesce(max(id), 0) FROM messages) - ${SHOWN}) ORDER BY id`,
  );
  return {
    add: (text: string): void => void insert.run(text),
    after: (id: number): Message[] =>
      later.all(id).map((row) => ({ id: Number(row.id), text: String(row.text) })),
    close: () => database.close(),
  };
}
