/** `process.abort()`, which the wall would make look like a fault of memory: no process may signal itself. */
import process from "node:process";
import { withDeepStack } from "./frames.ts";
import { placesIn, report } from "./report.ts";
import { replace } from "./replace.ts";

/** What a shell says of a program that was aborted. */
const ABORTED = 134;

/** The names in a module of Node's that are replaced. */
export const REPLACED_ENDS = { process: ["abort"] } as const;

/** Tells of it as the runtime tells of an error that nothing catches, and ends the process. */
export function tellAbort(): void {
  const { exit } = Deno;
  replace(process, "abort", () => {
    const [place] = placesIn(withDeepStack(new Error()).stack, 1);
    const where = place === undefined ? "" : ` (${place})`;
    report(`error: Uncaught abort: the app called process.abort()${where}`);
    return exit(ABORTED);
  });
}
