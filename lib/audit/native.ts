/**
 * The subject's native hand: system calls as a taken-over engine could make them. Under Deno's own
 * permissions it is refused at the first step; with them wide open it stands for machine code.
 */
import { type AnyCall, anyNumberOf } from "../sandbox/absent_calls.ts";

/** Errors that mean that a layer refused, as opposed to a call that was wrong or that got through. */
const REFUSING: Readonly<Record<number, string>> = { 1: "EPERM", 13: "EACCES", 38: "ENOSYS" };

/** A refusal that an interface reported by a value instead of an error. */
export class Refused extends Error {
  override readonly name = "Refused";
}

/** One argument of a system call: a number, bytes to point at, or a text that is NUL-ended. */
export type Argument = number | bigint | Uint8Array<ArrayBuffer> | string;

let library: ReturnType<typeof load> | undefined;

/** A thread's errno stays where it is: a call that looks for it each time may change it on its way. */
function load() {
  const { symbols } = Deno.dlopen("libc.so.6", {
    syscall: {
      parameters: ["i64", "u64", "u64", "u64", "u64", "u64", "u64"],
      result: "i64",
    },
    errnoLocation: { name: "__errno_location", parameters: [], result: "pointer" },
  });
  return { syscall: symbols.syscall, errno: new Deno.UnsafePointerView(symbols.errnoLocation()!) };
}

/** The result of a raw system call. */
export interface CallResult {
  readonly value: number;
  /** 0 if it succeeded. */
  readonly errno: number;
}

/**
 * Makes a system call, and tells what came of it.
 *
 * @throws NotCapable where FFI is not granted
 */
export function call(name: CallName, ...args: Argument[]): CallResult {
  library ??= load();
  const number = findNumber(name);
  if (number === undefined) throw new Error(`${name} does not exist on ${Deno.build.arch}`);
  return callNumber(number, ...args);
}

/** The same by a number, for one that no table has. */
export function callNumber(number: number, ...args: Argument[]): CallResult {
  library ??= load();
  const kept: Uint8Array<ArrayBuffer>[] = [];
  const words = Array.from({ length: 6 }, (_, index) => toWord(args[index] ?? 0, kept));
  const [a, b, c, d, e, f] = words as [bigint, bigint, bigint, bigint, bigint, bigint];
  const { syscall, errno } = library;
  const result = syscall(BigInt(number), a, b, c, d, e, f);
  const told = errno.getInt32();
  const value = Number(result);
  return { value, errno: value === -1 ? told : 0 };
}

/**
 * Makes a system call that must succeed.
 *
 * @throws {Refused} if it was refused
 * @throws if it failed for another reason
 */
export function must(name: CallName, ...args: Argument[]): number {
  const { value, errno } = call(name, ...args);
  if (errno === 0) return value;
  throw explain(name, errno);
}

/**
 * Makes a system call with arguments that cannot work, and returns the error by which the kernel
 * showed that it looked at them: then nothing had stopped the call before.
 *
 * @throws {Refused} if it was refused
 */
export function reaches(name: CallName, ...args: Argument[]): string {
  const { value, errno } = call(name, ...args);
  if (errno in REFUSING) throw explain(name, errno);
  return errno === 0 ? `${name} returned ${value}` : `${name} failed with errno ${errno}`;
}

function explain(name: string, errno: number): Error {
  const refusing = REFUSING[errno];
  if (refusing !== undefined) return new Refused(`${name}: ${refusing}`);
  return new Error(`${name} failed with errno ${errno}`);
}

/** Reads a file by open(2) and read(2), at most 64 KiB. */
export function readNatively(path: string): string {
  const fd = must("openat", AT_FDCWD, path, 0, 0);
  const bytes = new Uint8Array(65_536);
  const length = must("read", fd, bytes, bytes.length);
  must("close", fd);
  return new TextDecoder().decode(bytes.subarray(0, length));
}

/** The address of bytes, for structures that point at them; keep the bytes reachable meanwhile. */
export function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}

/** An argument as the kernel takes it; what it points at is put with what is kept. */
export function toWord(value: Argument, kept: Uint8Array<ArrayBuffer>[]): bigint {
  if (typeof value === "bigint") return BigInt.asUintN(64, value);
  if (typeof value === "number") return BigInt.asUintN(64, BigInt(value));
  const bytes = typeof value === "string" ? new TextEncoder().encode(`${value}\0`) : value;
  kept.push(bytes);
  return addressOf(bytes);
}

/** The process group of another process; where that is not told, the one that it would lead. */
export function groupOf(pid: number): number {
  const { value, errno } = call("getpgid", pid);
  return errno === 0 ? value : pid;
}

/** The folder that relative paths start at. */
export const AT_FDCWD = -100;

/** A system call by its name. */
export type CallName = AnyCall;

/** The number of a call on this machine. */
export function findNumber(name: CallName): number | undefined {
  return anyNumberOf(name, Deno.build.arch);
}
