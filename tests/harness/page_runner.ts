/** Does what a page of the documentation says, in a folder of its own, and compares what is seen. */
import { assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { assertPrints, type Block, blocksOf, type Command, commandsOf } from "./page_blocks.ts";
import { freePort } from "./ports.ts";
import { processesIn } from "./process.ts";
import { killQuietly, ProcessLog, waitForEvent } from "./process_log.ts";
import { HOLDFAST } from "./project.ts";
import { PATIENCE_MS } from "./wait.ts";

/** Ports that pages use; a test takes free ones for them. */
const PORT = /\b800\d\b/g;

/** Where pages say that an app lies. */
const FOLDER = "/srv/app";

/** Builds and audits among the commands take their time. */
const COMMAND_PATIENCE_MS = 10 * PATIENCE_MS;

/** A reader of one page. */
export class PageReader implements AsyncDisposable {
  readonly folder: string;
  readonly #root: string;
  readonly #ports = new Map<string, string>();
  #server: ProcessLog | undefined;

  readonly #places: Readonly<Record<string, string>>;

  private constructor(root: string, places: Readonly<Record<string, string>>) {
    this.#root = root;
    this.#places = places;
    this.folder = join(root, "app");
  }

  /** @param places what stands for places that a page names and a test has not */
  static async make(places: Readonly<Record<string, string>> = {}): Promise<PageReader> {
    const root = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    // Root's processes have accounts of their own, which have to get in.
    await Deno.chmod(root, 0o755);
    const reader = new PageReader(root, places);
    for (const name of ["app", "bin", "tmp"]) await Deno.mkdir(join(root, name));
    const words = `run -A --quiet --config ${HOLDFAST}/deno.json ${HOLDFAST}/main.ts`;
    const program = `#!/bin/sh\nexec ${Deno.execPath()} ${words} "$@"\n`;
    await Deno.writeTextFile(join(root, "bin/holdfast"), program, { mode: 0o755 });
    await Deno.symlink(Deno.execPath(), join(root, "bin/deno"));
    return reader;
  }

  /** Reads a page to its end: files are written and commands are run, as they come. */
  async read(page: string): Promise<void> {
    for (const block of blocksOf(page)) {
      if (block.ignored) continue;
      if (block.title !== undefined) await this.#write(block.title, this.#place(block.text));
      else if (block.language === "sh") {
        for (const command of commandsOf(block)) await this.#run(command, block);
      }
    }
  }

  /** A text of a page, with the ports and the folder that this test has. */
  #place(text: string): string {
    const placed = text.replace(PORT, (port) => {
      const own = this.#ports.get(port) ?? String(freePort());
      this.#ports.set(port, own);
      return own;
    });
    const others = Object.entries(this.#places);
    return others.reduce(
      (text, [from, to]) => text.replaceAll(from, to),
      placed.replaceAll(FOLDER, this.folder),
    );
  }

  /** What was printed, as the page would have it. */
  #unplace(text: string): string {
    let printed = text.replaceAll(this.folder, FOLDER);
    for (const [port, own] of this.#ports) printed = printed.replaceAll(own, port);
    return printed;
  }

  async #write(title: string, text: string): Promise<void> {
    const path = join(this.folder, title);
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.writeTextFile(path, text);
  }

  async #run({ text, prints, status }: Command, { line }: Block): Promise<void> {
    const where = `line ${line}: ${text}`;
    const command = this.#place(text);
    const options = {
      cwd: this.folder,
      env: {
        PATH: `${join(this.#root, "bin")}:${Deno.env.get("PATH")}`,
        TMPDIR: join(this.#root, "tmp"),
        NO_COLOR: "1",
      },
      stdin: "null",
    } as const;
    if (/^holdfast start\b/.test(text) && status === 0) {
      this.#server = ProcessLog.spawn(["sh", "-c", `exec ${command}`], options);
      await waitForEvent(this.#server, "serving", 1);
      return;
    }
    const output = await new Deno.Command("sh", {
      ...options,
      args: ["-c", `{ ${command}\n} 2>&1`],
      signal: AbortSignal.timeout(COMMAND_PATIENCE_MS),
    }).output();
    const printed = this.#unplace(new TextDecoder().decode(output.stdout));
    assertEquals(output.code, status, `${where}\n${printed}\n${this.#server?.text.slice(-2000)}`);
    assertPrints(printed, prints, where);
    if (/^holdfast stop\b/.test(text)) {
      await this.#server?.ended(PATIENCE_MS);
      this.#server = undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.signal("SIGTERM");
    await this.#server?.ended(PATIENCE_MS);
    processesIn(this.#root).forEach((pid) => killQuietly(pid));
    await Deno.remove(this.#root, { recursive: true });
  }
}
