/** A machine with only Node, on which README's commands are run as they are printed. */
import { join } from "node:path";
import { askSupervisor } from "../../lib/cli/control_client.ts";
import { processesIn } from "./process.ts";
import { killQuietly, ProcessLog } from "./process_log.ts";
import { REPOSITORY } from "./project.ts";
import { PATIENCE_MS } from "./wait.ts";

export const README = await Deno.readTextFile(join(REPOSITORY, "README.md"));

/** The blocks of code of a section of README, by their language. */
export function blocksOf(section: string): { readonly language: string; readonly text: string }[] {
  const text = README.split(/^## /m).find((each) => each.startsWith(`${section}\n`))!
    .split(/^### /m)[0]!;
  return [...text.matchAll(/^```(\w+)\n(.*?)^```/gms)].map(([, language, text]) => ({
    language: language!,
    text: text!,
  }));
}

/** `npx` is what brings Deno there, and the pinned one. */
export class NodeOnly implements AsyncDisposable {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(): Promise<NodeOnly> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    await Deno.mkdir(join(folder, "bin"));
    const npx = `#!/bin/sh
[ "$1 $2" = "-y deno@${Deno.version.deno}" ] || { echo "npx was told $*" >&2; exit 64; }
shift 2
exec "${Deno.execPath()}" "$@"
`;
    await Deno.writeTextFile(join(folder, "bin/npx"), npx, { mode: 0o755 });
    return new NodeOnly(folder);
  }

  /** Runs a command as it is printed. */
  run(command: string, cwd: string): ProcessLog {
    return ProcessLog.spawn(["sh", "-c", command], {
      cwd,
      env: { PATH: `${this.folder}/bin:/usr/bin:/bin` },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    processesIn(this.folder).forEach((pid) => killQuietly(pid));
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** Stops what such a command has started. */
export async function stop(log: ProcessLog, runtime: string): Promise<void> {
  await askSupervisor(runtime, "stop", "stopped");
  await log.ended(PATIENCE_MS);
}
