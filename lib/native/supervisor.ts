/** The command line of an executable that `deno compile` made, and its supervisor. */
import { runNative } from "../cli/native.ts";
import type { NativeContext } from "./enter.ts";

/** Runs it. */
export async function run({ facts }: NativeContext): Promise<void> {
  Deno.exit(await runNative(facts, Deno.args));
}
