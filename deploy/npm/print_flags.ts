/**
 * Prints the flags of a supervisor, one a line, for the header of a single file: its arguments are the deno
 * program and those of the user.
 */
import process from "node:process";
import { flagsOf, NAME_HINT } from "./flags.ts";

const [deno = "", ...args] = process.argv.slice(2);
try {
  process.stdout.write(`${flagsOf(args, deno).join("\n")}\n`);
} catch (error) {
  process.stderr.write(`holdfast: ${(error as Error).message}\n  hint: ${NAME_HINT}\n`);
  process.exit(71);
}
