/**
 * Installs the second seccomp program of this process: the one thing for which a
 * process is granted native code, and only until then. The supervisor sees from outside that every thread
 * has it, before it gives anything.
 */
import { CODE_KEY, type CodePolicy } from "../protocol/program_data.ts";
import { type Arch, encodeProgram } from "../sandbox/seccomp.ts";
import { laterProgram } from "./later_program.ts";
import { takeProgramData } from "./program_data.ts";

const SECCOMP = BigInt(Deno.build.arch === "aarch64" ? 277 : 317);
const SET_MODE_FILTER = 1n;
const FLAG_TSYNC = 1n;

const INSTRUCTION_BYTES = 8;

/**
 * Installs it on all threads, if this process was given one. To be called when the process has started,
 * and before anything is loaded that is not Holdfast's.
 *
 * @throws {Error} if the kernel refuses
 */
export function installLaterFilter(): void {
  const code = takeProgramData(CODE_KEY) as CodePolicy | undefined;
  if (code === undefined) return;
  const program = encodeProgram(laterProgram(Deno.build.arch as Arch, code));
  // struct sock_fprog: the length, six bytes of padding, the address.
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint16(0, program.length / INSTRUCTION_BYTES, true);
  view.setBigUint64(8, BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(program))), true);
  // By its name, which takes the grant as a whole: with one of a path the runtime would look for it there.
  const libc = Deno.dlopen("libc.so.6", {
    syscall: { parameters: ["i64", "u64", "u64", "buffer"], result: "i64" },
  });
  const result = libc.symbols.syscall(SECCOMP, SET_MODE_FILTER, FLAG_TSYNC, header);
  libc.close();
  // The number of a thread, if that could not follow.
  if (result !== 0n) throw new Error(`Cannot install the second seccomp program: ${result}`);
}

/** Gives the right to call native code up. Where it was granted it reads as a question then: none is asked. */
export function giveNativeCodeUp(): void {
  // What a helper may load from its packages alone is its own.
  const ffi = { name: "ffi" } as const;
  if (Deno.permissions.querySync(ffi).state === "granted") Deno.permissions.revokeSync(ffi);
}
