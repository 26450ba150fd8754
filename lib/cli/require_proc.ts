/**
 * Ends the program where there is no proc(5). To be imported before anything else: without it Deno
 * cannot say where its own program is, and panics as soon as a module of Node.js is loaded.
 */
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { canOpen } from "../os/file.ts";
import { printError } from "./terminal.ts";

/** Whether the C library may be called; some commands are run without that right. */
function mayLook(): boolean {
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}

if (Deno.build.os === "linux" && mayLook() && !canOpen("/proc/self/stat")) {
  printError(
    new HoldfastError("No /proc is mounted here: cannot open /proc/self/stat", {
      kind: "environment",
      code: "no_proc",
      hint: "Mount it: mount -t proc proc /proc; with hidepid= or subset=pid, too, if you like",
    }),
  );
  Deno.exit(EXIT.environment);
}
