/** A journal that a test owns, and the namespace in which it, or nothing, is systemd's. */
import { join } from "node:path";
import { readStatus } from "./process.ts";
import { REPOSITORY } from "./project.ts";
import { until } from "./wait.ts";

const PROGRAM = join(REPOSITORY, "tests/harness/journal.py");

/** A field of an entry: its name and its value. */
export type Field = readonly [name: string, value: string];

export class JournalDouble implements AsyncDisposable {
  /** What came, as it came. */
  readonly entries: (readonly Field[])[] = [];
  readonly folder: string;
  readonly #process: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #ended = false;

  constructor(folder: string, process: Deno.ChildProcess) {
    this.folder = folder;
    this.#process = process;
    this.#reading = this.#read();
  }

  static async create(): Promise<JournalDouble> {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_journal_" });
    // Whoever is another user is to reach it, as it is with systemd's.
    await Deno.chmod(folder, 0o755);
    const process = new Deno.Command("python3", {
      args: [PROGRAM, join(folder, "socket")],
      stdin: "null",
      stdout: "piped",
    }).spawn();
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
    return await until(what, () => {
      if (this.#ended) throw new Error(`The journal ended while the test waited for ${what}`);
      return look();
    });
  }

  /** The entries of an event so far, each by its fields' names. */
  eventsOf(event: string): Readonly<Record<string, string>>[] {
    return this.entries.map((entry) => Object.fromEntries(entry))
      .filter(({ HOLDFAST_EVENT }) => HOLDFAST_EVENT === event);
  }

  /** Leaves datagrams in its queue until it goes on. */
  async stop(): Promise<void> {
    this.#process.kill("SIGSTOP");
    const { pid } = this.#process;
    await this.until("the journal to stop", () => readStatus(pid)?.["State"]?.startsWith("T"));
  }

  continue(): void {
    this.#process.kill("SIGCONT");
  }

  async #read(): Promise<void> {
    let held = "";
    for await (const chunk of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (held + chunk).split("\n");
      held = lines.pop()!;
      for (const line of lines) this.entries.push(JSON.parse(line));
    }
    this.#ended = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#process.kill("SIGKILL");
    await this.#process.status;
    await this.#reading;
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
