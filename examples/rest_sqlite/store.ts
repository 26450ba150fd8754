/** Tasks in an SQLite file, which two versions of the app share during a reload. */
import { DatabaseSync } from "node:sqlite";

export interface Task {
  readonly id: number;
  readonly title: string;
  readonly done: boolean;
}

export interface Store {
  list(): Task[];
  add(title: string): Task;
  get(id: number): Task | undefined;
  setDone(id: number, done: boolean): Task | undefined;
  remove(id: number): Task | undefined;
  close(): void;
}

type Row = Record<string, unknown> | undefined;

function taskOf(row: Row): Task | undefined {
  if (row === undefined) return undefined;
  return { id: Number(row.id), title: String(row.title), done: row.done === 1 };
}

/** Opens the file, and makes its table. */
export function openStore(path: string): Store {
  const database = new DatabaseSync(path);
  // The version before and this one have it open during a reload.
  database.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL");
  database.exec(
    "CREATE TABLE IF NOT EXISTS tasks " +
      "(id INTEGER PRIMARY KEY, title TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)",
  );
  const all = database.prepare("SELECT * FROM tasks ORDER BY id DESC LIMIT 100");
  const one = database.prepare("SELECT * FROM tasks WHERE id = ?");
  const insert = database.prepare("INSERT INTO tasks (title) VALUES (?) RETURNING *");
  const update = database.prepare("UPDATE tasks SET done = ? WHERE id = ? RETURNING *");
  const remove = database.prepare("DELETE FROM tasks WHERE id = ? RETURNING *");
  return {
    list: () => all.all().map((row) => taskOf(row)!),
    add: (title) => taskOf(insert.get(title))!,
    get: (id) => taskOf(one.get(id)),
    setDone: (id, done) => taskOf(update.get(done ? 1 : 0, id)),
    remove: (id) => taskOf(remove.get(id)),
    close: () => database.close(),
  };
}
