/**
 * Machine code for x86_64 and aarch64, as an attacker who has taken an engine over would use.
 * That for aarch64 was run in an emulator only.
 */
import { Buffer } from "node:buffer";
import {
  addressOf,
  type Argument,
  type CallName,
  findNumber,
  must,
  Refused,
  toWord,
} from "./native.ts";

const READ_WRITE = 3;
const READ_EXECUTE = 5;
const PRIVATE = 2;
const PRIVATE_ANONYMOUS = 0x22;
const PAGE = 4096;

/** Code that does the same on both. */
type Code = Readonly<Record<"x86_64" | "aarch64", string>>;

/**
 * A function of a table: seven words for a call that forks, its number first, seven for the call that
 * the child makes, and one to be written to. It returns the child's wait status, or an error's number,
 * negative. The child leaves with its error's number. It makes no use of the stack, so that a child
 * may share it.
 */
const FORK: Code = {
  x86_64: "534889fb488b03488b7b08488b7310488b53184c8b53204c8b43284c8b4b300f05" + // The call that forks
    "4885c0782774274889c7488d7370ba000000404531d2b83d0000000f054883f8fc74e7" + // wait4, until it is over
    "4885c07804486343705bc3" +
    "488b4338488b7b40488b7348488b53504c8b53584c8b43604c8b4b680f05" + // The child's call
    "89c7f7df4885c0780231ffb8e70000000f05", // exit_group
  aarch64: "e90300aa280140f9208540a9228d41a9249542a9010000d4" + // The call that forks
    "1f0000f1cb010054c0010054ea0300aae0030aaa21c101910200a852030080d2882080d2010000d4" + // wait4
    "1f1000b120ffff541f0000f14b000054207180b9c0035fd6" +
    "281d40f9200544a9220d45a9241546a9010000d4" + // The child's call
    "1f0000f1e00300cbe0a3809ac80b80d2010000d4", // exit_group
};

/** A function that returns 42. */
const ANSWER: Code = { x86_64: "b82a000000c3", aarch64: "40058052c0035fd6" };

/** A function that returns its second argument. */
const SECOND: Code = { x86_64: "4889f0c3", aarch64: "e00301aac0035fd6" };

/** A function that returns 0. */
const ZERO: Code = { x86_64: "31c0c3", aarch64: "00008052c0035fd6" };

/** A program that exits with status 42. */
const PROGRAM: Code = {
  x86_64: "bf2a000000b8e70000000f05",
  aarch64: "400580d2c80b80d2010000d4",
};

/** A function that asks for its process by the 32-bit interface; aarch64 has none for 64-bit programs. */
const OLD_CALL = "b814000000cd804898c3";

/** What {@linkcode ANSWER} returns, and {@linkcode PROGRAM} exits with. */
export const THE_ANSWER = 42;

function bytesOf(code: Code): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(code[Deno.build.arch], "hex"));
}

/** A function that takes a pointer and returns a number. */
const SIGNATURE = { parameters: ["buffer"], result: "i64" } as const;
type Native = (argument: Uint8Array<ArrayBuffer>) => number;

function functionAt(address: number): Native {
  const pointer = Deno.UnsafePointer.create<typeof SIGNATURE>(BigInt(address))!;
  const found = new Deno.UnsafeFnPointer(pointer, SIGNATURE);
  return (argument) => Number(found.call(argument));
}

/** Writes code into memory, and only then makes it executable. */
function load(code: Uint8Array<ArrayBuffer>): Native {
  const address = must("mmap", 0, PAGE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
  const page = Deno.UnsafePointer.create(BigInt(address))!;
  new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(page, PAGE)).set(code);
  must("mprotect", address, PAGE, READ_EXECUTE);
  return functionAt(address);
}

/** Runs machine code from memory. */
export function runFromMemory(): number {
  return load(bytesOf(ANSWER))(new Uint8Array(8));
}

/** Makes a system call as 32-bit programs do, on x86_64: getpid(2), for which no filter needs to ask. */
export function runOldCall(): number {
  return load(new Uint8Array(Buffer.from(OLD_CALL, "hex")))(new Uint8Array(8));
}

/** Runs machine code from memory that is writable and executable at once. */
export function runFromWritableMemory(): number {
  const address = must("mmap", 0, PAGE, READ_WRITE | READ_EXECUTE, PRIVATE_ANONYMOUS, -1, 0);
  const page = Deno.UnsafePointer.create(BigInt(address))!;
  new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(page, PAGE)).set(bytesOf(ANSWER));
  return functionAt(address)(new Uint8Array(8));
}

/** Runs machine code that a descriptor's file holds. */
export function runFromFile(fd: number): number {
  const address = must("mmap", 0, PAGE, READ_EXECUTE, PRIVATE, fd, 0);
  return functionAt(address)(new Uint8Array(8));
}

/** What {@linkcode runFromFile} runs. */
export function answerCode(): Uint8Array<ArrayBuffer> {
  return bytesOf(ANSWER);
}

/** Keeps reachable what only the kernel is told of. */
const kept: Uint8Array<ArrayBuffer>[] = [];

/** One system call with its arguments. */
export type Call = readonly [name: CallName, ...args: Argument[]];

/**
 * Forks, has the child make a call, and waits for it.
 *
 * @returns the status with which the child exited, which is 0 if its call returned
 * @throws {Refused} if the fork or the child's call was refused
 */
export function inChild(fork: Call, inside: Call): number {
  const words = [fork, inside].flatMap(([name, ...args]) => {
    const rest = Array.from({ length: 6 }, (_, index) => toWord(args[index] ?? 0, kept));
    return [BigInt(findNumber(name)!), ...rest];
  });
  const status = load(bytesOf(FORK))(new Uint8Array(new BigUint64Array([...words, 0n]).buffer));
  if (status === -1 || status === -38) throw new Refused(`${fork[0]}: errno ${-status}`);
  if (status < 0) throw new Error(`${fork[0]} failed with errno ${-status}`);
  if ((status & 0x7f) !== 0) throw new Error(`The child was killed by signal ${status & 0x7f}`);
  const code = status >> 8;
  if (code === 1 || code === 13) throw new Refused(`${inside[0]} in the child: errno ${code}`);
  return code;
}

/** An array of texts as execve(2) takes it. */
export function vector(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  const each = texts.map((text) => new TextEncoder().encode(`${text}\0`));
  kept.push(...each);
  return new Uint8Array(new BigUint64Array([...each.map(addressOf), 0n]).buffer);
}

/** Where an image is loaded to, and where its code lies in it. */
const CODE_AT = 0x100;
const SLOT = 16;

/**
 * A file of machine code that is a program, which exits with status 42; a library, whose `answer`
 * returns 42; a module for Node; and an extension for SQLite. See elf(5).
 */
export function image(): Uint8Array<ArrayBuffer> {
  const functions: [name: string, code: Code][] = [
    ["answer", ANSWER],
    ["napi_register_module_v1", SECOND],
    ["sqlite3_extension_init", ZERO],
  ];
  const symbolsAt = CODE_AT + SLOT * (functions.length + 1);
  const count = functions.length + 1;
  const hashAt = symbolsAt + 24 * count;
  const dynamicAt = hashAt + 8 * Math.ceil((2 + 1 + count) / 2);
  const textsAt = dynamicAt + 16 * 6;
  const texts = ["", ...functions.map(([name]) => name)].join("\0") + "\0";
  const bytes = new Uint8Array(textsAt + texts.length);
  const view = new DataView(bytes.buffer);
  const words = (at: number, ...values: number[]) =>
    values.forEach((value, index) => view.setBigUint64(at + 8 * index, BigInt(value), true));
  const segment = (at: number, type: number, flags: number, from: number, size: number) => {
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    words(at + 8, from, from, from, size, size, type === 1 ? PAGE : 8);
  };
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 3, true); // A position-independent one
  view.setUint16(18, Deno.build.arch === "x86_64" ? 62 : 183, true);
  view.setUint32(20, 1, true);
  words(24, CODE_AT, 64, 0);
  [64, 56, 3, 64, 0, 0].forEach((value, index) => view.setUint16(52 + 2 * index, value, true));
  segment(64, 1, 7, 0, bytes.length); // Everything is loaded, and the linker writes to it
  segment(64 + 56, 2, 6, dynamicAt, textsAt - dynamicAt);
  segment(64 + 112, 0x6474e551, 6, 0, 0); // Without it the stack would be made executable
  bytes.set(bytesOf(PROGRAM), CODE_AT);
  functions.forEach(([name, code], index) => {
    const at = CODE_AT + SLOT * (index + 1);
    bytes.set(bytesOf(code), at);
    const symbol = symbolsAt + 24 * (index + 1);
    view.setUint32(symbol, texts.indexOf(`\0${name}\0`) + 1, true);
    bytes.set([0x12, 0, 1, 0], symbol + 4); // A global function
    words(symbol + 8, at, SLOT);
  });
  // One bucket of a hash table, in which every symbol leads to the next.
  [1, count, 1, 0, ...functions.map((_, index) => (index + 2) % count)]
    .forEach((value, index) => view.setUint32(hashAt + 4 * index, value, true));
  words(dynamicAt, 4, hashAt, 5, textsAt, 6, symbolsAt, 10, texts.length, 11, 24, 0, 0);
  bytes.set(new TextEncoder().encode(texts), textsAt);
  return bytes;
}
