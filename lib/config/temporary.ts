/** Where the private folders for temporary files are, and by which name processes find theirs. */
import { join } from "node:path";

/** The variable by which programs find where temporary files go (environ(7)). */
export const TEMPORARY_VARIABLE = "TMPDIR";

/** The folder that they are in, of a runtime folder. */
export function temporaryIn(runtime: string): string {
  return join(runtime, "tmp");
}
