/** The kernel's wall is there, or there is an error: never less than what the config asks for. */
import { HoldfastError } from "../base/error.ts";
import { LEAST_ABI } from "../sandbox/landlock.ts";
import { hasProgram } from "../sandbox/seccomp.ts";

/**
 * What is wrong where the addresses that a process dials cannot be read, and Unix sockets are among them:
 * nothing else of the wall rules those.
 *
 * @param who in words
 */
export function diallingUnguarded(who: string): HoldfastError {
  return new HoldfastError(
    `${who} has a Unix socket in net, and which one it dials cannot be seen: the right to read its ` +
      "memory is missing",
    {
      kind: "environment",
      code: "dialling_unguarded",
      hint:
        "Start Holdfast with CAP_SYS_PTRACE (CapabilityBoundingSet= of a unit, --cap-add of a " +
        "container), or as the user that the workers run as with kernel.yama.ptrace_scope of 0 or 1; " +
        "or connect over TCP",
    },
  );
}

/**
 * Asks whether this machine can hold a worker.
 *
 * @param abi the kernel's Landlock ABI; 0 where there is none
 * @throws {HoldfastError} if not; it says what was found and which setting accepts less
 */
export function requireWall(abi: number): void {
  if (abi >= LEAST_ABI && hasProgram(Deno.build.arch)) return;
  throw new HoldfastError(
    `This machine has no kernel wall: ${Deno.build.os} on ${Deno.build.arch} with Landlock ABI ` +
      `${abi}, wanted is Linux on x86_64 or aarch64 with ${LEAST_ABI} or newer`,
    {
      kind: "environment",
      code: "wall_unavailable",
      hint: 'Set "wall": "deno" to accept Deno\'s permissions alone',
    },
  );
}
