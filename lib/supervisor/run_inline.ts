/** Runs a few lines in a process of their own: nothing of the project's has a part in it. */
import { type RunOptions, runProgram } from "../planner/deno.ts";
import { denoProgram } from "./deno_program.ts";

/** Runs them; `grants` are the flags that say what they may do. */
export function runInline(
  program: string,
  grants: readonly string[],
  options: RunOptions,
): Promise<string> {
  const bare = ["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", ...grants];
  const address = `data:application/javascript,${encodeURIComponent(program)}`;
  return runProgram(denoProgram(), [...bare, address], options);
}
