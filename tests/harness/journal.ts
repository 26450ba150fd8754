/** A journal that a test owns, and the namespace in which it, or nothing, is systemd's. */
import { join } from "node:path";
import { readStatus } from "./process.ts";
import { ProcessLog } from "./process_log.ts";
import { REPOSITORY } from "./project.ts";
import { PATIENCE_MS } from "./wait.ts";

const PROGRAM = join(REPOSITORY, "tests/harness/journal.py");

/** A field of an entry: its name and its value. */
export type Field = readonly [name: string, value: string];

export class JournalDouble implements AsyncDisposable {
  /** What came, as it came. */
  readonly entries: (readonly Field[])[];
  readonly folder: string;
  readonly #process: ProcessLog<readonly Field[]>;

  constructor(folder: string, process: ProcessLog<readonly Field[]>) {
    this.folder = folder;
    this.entries = process.events;
    this.#process = process;
  }

  static async create(): Promise<JournalDouble> {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_journal_" });
    // Whoever is another user is to reach it, as it is with systemd's.
    await Deno.chmod(folder, 0o755);
    const process = ProcessLog.spawn<readonly Field[]>(
      ["python3", PROGRAM, join(folder, "socket")],
      { reads: "stdout" },
    );
    const journal = new JournalDouble(folder, process);
    await journal.until("the journal", () => journal.entries.length > 0);
    // It says that it listens by an entry without a field.
    journal.entries.pop();
    return journal;
  }

  get socket(): string {
    return join(this.folder, "socket");
  }

  /** Waits until `look` gives a value; an end of the journal is a failure. */
  async until<T>(what: string, look: () => T | undefined | false): Promise<T> {
    return await this.#process.until(what, look);
  }

  /** The entries of an event so far, each by its fields' names. */
  eventsOf(event: string): Readonly<Record<string, string>>[] {
    return this.entries.map((entry) => Object.fromEntries(entry))
      .filter(({ HOLDFAST_EVENT }) => HOLDFAST_EVENT === event);
  }

  /** Leaves datagrams in its queue until it goes on. */
  async stop(): Promise<void> {
    this.#process.signal("SIGSTOP");
    const { pid } = this.#process;
    await this.until("the journal to stop", () => readStatus(pid)?.["State"]?.startsWith("T"));
  }

  continue(): void {
    this.#process.signal("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill();
    await this.#process.ended(PATIENCE_MS);
    await Deno.remove(this.folder, { recursive: true });
  }
}

/**
 * What stands before a command, in a shell that becomes it: `/run` is empty but for the journal.
 *
 * @param folder has the journal's socket; without it there is no journal
 * @param stream what `JOURNAL_STREAM` says, as a shell reads it; else the stream that stderr is
 */
export function withJournal(folder?: string, stream = STDERR_STREAM): string[] {
  const lines = [
    "set -e",
    "mount -t tmpfs tmpfs /run",
    ...folder === undefined
      ? []
      : ["mkdir -p /run/systemd/journal", `mount --bind '${folder}' /run/systemd/journal`],
    `export JOURNAL_STREAM=${stream}`,
    'exec "$@"',
  ];
  // util-linux; as root, or where user namespaces are allowed.
  const user = Deno.uid() === 0 ? [] : ["--user", "--map-root-user"];
  return ["unshare", ...user, "--mount", "sh", "-c", lines.join("\n"), "sh"];
}

/** Device and inode of the shell's standard error, which the command inherits. */
export const STDERR_STREAM = "$(stat -L -c %d:%i /proc/self/fd/2)";
