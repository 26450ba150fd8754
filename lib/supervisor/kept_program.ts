/**
 * The program of an image that came in an executable. It has the image's packages in it, so it is kept
 * beside the image: the processes of a generation are started from it, whatever lies in the place of the
 * executable by then.
 */
import { join } from "node:path";
import * as z from "zod/mini";
import { log } from "../base/log.ts";
import { HoldfastError } from "../base/error.ts";
import { makeHardLink } from "../os/hard_link.ts";
import { NativeFacts } from "../protocol/native.ts";

/** In the folder of an image: the program by another name, and how it is started. */
const PROGRAM = "program";
const START = "start.json";

const Start = z.pick(NativeFacts, { executable: true, interpreter: true });
type Start = z.infer<typeof Start>;

/** Changes when another file is put in the place of a path. */
export function stampOf(path: string): string {
  try {
    const { dev, ino, mtime, size } = Deno.statSync(path);
    return `${dev}:${ino}:${mtime?.getTime()}:${size}`;
  } catch {
    return "gone";
  }
}

/**
 * Keeps the program of an image.
 *
 * @param folder the image's
 * @param stamp of the file that was asked for its facts, and that made the image
 * @throws {HoldfastError} if another file has taken its place since
 */
export function keepProgram(folder: string, facts: NativeFacts, stamp: string): void {
  const [program, start] = [join(folder, PROGRAM), join(folder, START)];
  if (stampOf(start) !== "gone") return;
  const { executable, interpreter } = facts;
  const kept: Start = { executable: program, interpreter };
  try {
    if (stampOf(program) === "gone") makeHardLink(executable, program);
  } catch (error) {
    // The file is on another file system, or somebody else's.
    log.warn("program_not_kept", {
      reason: (error as Error).message,
      hint: `Until a reload takes it, what is put in the place of ${executable} runs this version`,
    });
    kept.executable = executable;
  }
  if (stampOf(kept.executable) !== stamp) {
    if (kept.executable === program) Deno.removeSync(program);
    throw new HoldfastError(`${executable} was replaced while it was taken`, {
      kind: "environment",
      code: "executable_replaced",
      hint: "Reload again",
    });
  }
  Deno.writeTextFileSync(start, JSON.stringify(kept), { mode: 0o644 });
}

/** How the program of an image is started; nothing where the image has none. */
export function keptProgram(folder: string): Start | undefined {
  try {
    return Start.parse(JSON.parse(Deno.readTextFileSync(join(folder, START))));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
