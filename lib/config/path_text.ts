/** Paths as a config spells them. Pure. */
import { quote, Refusal } from "./problem.ts";

/** The longest path in a config. */
export const MAX_PATH_CHARS = 1024;

// A comma would split one entry of a Deno permission list into two, and control characters must not
// get onto a command line or into a log.
// deno-lint-ignore no-control-regex
const UNFIT_FOR_FLAGS = /[\u0000-\u001f\u007f,]/;

/** Says why a path cannot be used, or `undefined` when it can. */
export function refusePath(path: string): Refusal | undefined {
  if (path === "") {
    return new Refusal("path_empty", "an empty path", 'write "." for the config\'s own folder');
  }
  if (UNFIT_FOR_FLAGS.test(path) || !path.isWellFormed()) {
    return new Refusal(
      "path_unfit",
      `${quote(path)} has a comma, a control character or a lone surrogate: ` +
        "in Deno's permission lists a comma would make two entries of it",
      "rename the folder",
    );
  }
  if (path === "~" || path.startsWith("~/")) {
    return new Refusal("path_tilde", `${quote(path)}: "~" is not expanded`, "write the full path");
  }
  return undefined;
}
