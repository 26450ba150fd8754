/** The programs of tests/packages: what they import of npm is theirs alone, in a lock of their own. */
import { join } from "node:path";
import { REPOSITORY } from "./project.ts";

/** The command line that runs one of them. */
export function packageProgram(name: string, ...args: string[]): [string, ...string[]] {
  return [
    Deno.execPath(),
    "run",
    "--no-prompt",
    "--frozen",
    "-A",
    join(REPOSITORY, "tests/packages", name),
    ...args,
  ];
}
