/** Ends a double as the command line ends: with a message for people and the exit status of the kind. */
import { toHoldfastError } from "../../lib/base/error.ts";
import { EXIT } from "../../lib/base/exit_code.ts";
import { printError } from "../../lib/cli/terminal.ts";

/** Runs `work`, and exits with the status that the CLI would have. */
export async function runAsCommand(work: () => Promise<void>): Promise<never> {
  try {
    await work();
  } catch (error) {
    const failure = toHoldfastError(error);
    printError(failure);
    Deno.exit(EXIT[failure.kind]);
  }
  Deno.exit(EXIT.ok);
}
