/** What a supervisor gives up, since it has no use for it once it serves. */
import { workingFolder } from "../config/spelled_path.ts";
import { closeAllOnExec } from "../os/descriptor.ts";
import { setNoNewPrivileges } from "../os/landlock.ts";
import { becomeUndumpable } from "../os/process.ts";
import { installOnAllThreads } from "../os/seccomp.ts";
import { ownProgram } from "../sandbox/own_filter.ts";
import { hasProgram } from "../sandbox/seccomp.ts";
import { bestEffort } from "./best_effort.ts";

/** Kinds of Deno's permissions that are used only before the first worker is spawned. */
const USED_AT_START = ["sys", "import"] as const;

/** Before anything is started: what whoever started this process left open is not for a worker. */
export function closeIn(): void {
  closeAllOnExec();
  // The folder that it was started in may be removed, as an old release is, and nothing starts there.
  workingFolder();
  Deno.chdir("/");
  if (Deno.build.os !== "linux") return;
  becomeUndumpable();
  // Without a wall a machine may serve that has no seccomp.
  bestEffort("install the supervisor's own seccomp program", () => {
    if (!hasProgram(Deno.build.arch)) return;
    setNoNewPrivileges();
    installOnAllThreads(ownProgram(Deno.build.arch));
  });
}

/**
 * Gives permissions up for good. What stays: reading, which checking a config takes, writing the
 * runtime folder, running this deno, binding listeners, the environment that it hands on (and that
 * `node:child_process` looks into), and the calls of lib/os.
 */
export function giveUpPermissions(): void {
  for (const name of USED_AT_START) {
    Deno.permissions.revokeSync({ name } as Deno.PermissionDescriptor);
  }
}
