/** Why a process could not be spawned, in words that help. */
import { HoldfastError } from "../base/error.ts";
import type { ChildEvent } from "./child_event.ts";
import type { SpawnRequest } from "./spawner_message.ts";

/** What is told of a process that there never was. */
export function neverWas(
  error: string,
  failure?: HoldfastError,
): Extract<ChildEvent, { type: "exited" }> {
  const status = { code: undefined, signal: undefined };
  return { type: "exited", status, error, ...failure && { failure } };
}

/** What the kernel refused of a wall. */
export function wallFailure(error: string, hint: string): HoldfastError {
  return new HoldfastError(`The kernel does not hold the wall: ${error}`, {
    kind: "environment",
    code: "wall_failed",
    hint,
  });
}

/** What went wrong at the start of a program. */
export function explainSpawn({ program, cwd, account }: SpawnRequest, error: string): string {
  const who = account ? ` as uid ${account.uid}` : "";
  // Whichever layer met the limit, and in whatever words.
  if (/EMFILE|ENFILE|errno 2[34]/.test(error)) {
    return `Cannot start ${program}${who}: too many open files; raise the limit of open files that ` +
      `Holdfast is started with (ulimit -n, LimitNOFILE=). ${error}`;
  }
  if (/EAGAIN|errno 11/.test(error)) {
    return `Cannot start ${program}${who}: too many processes; raise limits.processes, or the limit ` +
      `of processes that Holdfast is started with (ulimit -u, TasksMax=). ${error}`;
  }
  return `Cannot start ${program}${who}; may it run that, and enter ${cwd}? ${error}`;
}
