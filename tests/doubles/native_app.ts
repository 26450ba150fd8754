/**
 * An app in the hands of somebody else, down to machine code: it runs the code that it is sent, with
 * {@link native} at hand. Without the permission for FFI that ends at the first system call.
 */

const AsyncFunction = (async () => {}).constructor as new (
  ...all: string[]
) => (...all: unknown[]) => Promise<unknown>;

/** What a system call gives: errors as the kernel has them, less than zero. */
type CallArgument = number | bigint | string | Uint8Array<ArrayBuffer>;

function load() {
  return Deno.dlopen("libc.so.6", {
    syscall: { parameters: Array<"i64">(7).fill("i64"), result: "i64" },
    mmap: { parameters: ["u64", "u64", "i32", "i32", "i32", "i64"], result: "pointer" },
    errnoLocation: { name: "__errno_location", parameters: [], result: "pointer" },
  });
}

let library: ReturnType<typeof load> | undefined;

/** Where bytes are; they must stay reachable meanwhile. */
function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}

const kept: Uint8Array<ArrayBuffer>[] = [];

function toWord(value: CallArgument): bigint {
  if (typeof value === "number") return BigInt(value);
  if (typeof value === "bigint") return value;
  const bytes = typeof value === "string" ? new TextEncoder().encode(`${value}\0`) : value;
  kept.push(bytes);
  return addressOf(bytes);
}

/** Makes a system call by its number, and gives its result or the error below zero. */
function call(number: number, ...args: CallArgument[]): number {
  const { symbols } = library ??= load();
  const words = Array.from({ length: 7 }, (_, index) => toWord([number, ...args][index] ?? 0));
  const value = Number((symbols.syscall as (...all: bigint[]) => bigint)(...words));
  if (value !== -1) return value;
  return -new Deno.UnsafePointerView(symbols.errnoLocation()!).getInt32();
}

/** Pointers to texts, ended by NULL: what exec takes for arguments. */
function vector(...texts: string[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new BigUint64Array([...texts.map(toWord), 0n]).buffer);
}

const PROT_READ_WRITE_EXEC = 7;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** Machine code of x86_64, as a function of three words. */
function machineCode(bytes: Uint8Array<ArrayBuffer>): (...all: CallArgument[]) => number {
  const { symbols } = library ??= load();
  const page = symbols.mmap(0n, 4096n, PROT_READ_WRITE_EXEC, MAP_PRIVATE_ANONYMOUS, -1, 0n)!;
  new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(page, bytes.length)).set(bytes);
  const run = new Deno.UnsafeFnPointer(page as Deno.PointerObject<CodeDefinition>, CODE);
  return (...all) =>
    Number(run.call(toWord(all[0] ?? 0), toWord(all[1] ?? 0), toWord(all[2] ?? 0)));
}

const CODE = { parameters: ["i64", "i64", "i64"], result: "i64" } as const;
type CodeDefinition = typeof CODE;

// A fork of this process has one thread of many: all that it may do is to make system calls.
// deno-fmt-ignore
const FORK = [
  0x49, 0x89, 0xf8, // mov r8, rdi
  0x49, 0x89, 0xf1, // mov r9, rsi
  0xbf, 0x11, 0, 0, 0, // mov edi, SIGCHLD
  0x31, 0xf6, // xor esi, esi
  0xb8, 0x38, 0, 0, 0, // mov eax, clone
  0x0f, 0x05, // syscall
  0x48, 0x85, 0xc0, // test rax, rax
  0x74, 0x01, // jz child
  0xc3, // ret
];
// deno-fmt-ignore
const PAUSE_FOR_EVER = [
  0xb8, 0x22, 0, 0, 0, // mov eax, pause
  0x0f, 0x05, // syscall
  0xeb, 0xf7, // jmp to the begin
];
// deno-fmt-ignore
const EXEC_OR_EXIT = [
  0x4c, 0x89, 0xc7, // mov rdi, r8
  0x4c, 0x89, 0xce, // mov rsi, r9
  0xb8, 0x3b, 0, 0, 0, // mov eax, execve
  0x0f, 0x05, // syscall
  0xf7, 0xd8, // neg eax
  0x89, 0xc7, // mov edi, eax
  0xb8, 0x3c, 0, 0, 0, // mov eax, exit
  0x0f, 0x05, // syscall
];

/** What the code that it is sent may use. */
const native = {
  call,
  vector,
  addressOf,
  /** Forks a child that waits for ever, and gives its process id. */
  forkIdle: () => machineCode(new Uint8Array([...FORK, ...PAUSE_FOR_EVER]))(),
  /** Forks a child that runs a program or exits with the error, and gives its process id. */
  forkExec: (path: string, ...args: string[]) =>
    machineCode(new Uint8Array([...FORK, ...EXEC_OR_EXIT]))(path, vector(...args), vector()),
};

export default {
  async fetch(request: Request): Promise<Response> {
    try {
      const value = await new AsyncFunction("native", await request.text())(native);
      return Response.json({ ok: value ?? null });
    } catch (error) {
      const { name, message } = error as Error;
      return Response.json({ denied: name, message });
    }
  },
};
