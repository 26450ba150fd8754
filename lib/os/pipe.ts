/** Pipes (pipe(7)), and files in memory (memfd_create(2)). */
import { closeDescriptor, setCloseOnExec } from "./descriptor.ts";
import { fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";
import { textOf } from "./text.ts";

const LINUX = Deno.build.os === "linux";
const O_CLOEXEC = 0o2000000;
const MFD_CLOEXEC_SEALABLE = 3;
const MFD_NOEXEC_SEAL = 8;
const F_ADD_SEALS = 1033;
/** Neither its bytes nor its length nor these seals can be changed. */
const ALL_SEALS = 15;
const O_RDONLY_CLOEXEC = O_CLOEXEC;

const libc = loadLibc({
  // The call without flags takes no notice of them.
  pipe: { name: LINUX ? "pipe2" : "pipe", parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
});

const linux = loadLibc({
  memfdCreate: { name: "memfd_create", parameters: ["buffer", "u32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
});

const elsewhere = loadLibc({
  write: { parameters: ["i32", "buffer", "usize"], result: "isize", nonblocking: true },
});

/**
 * A pipe, closed on exec.
 *
 * @returns where is read, and where is written
 * @throws {Error} if the kernel refuses, as when there are too many descriptors
 */
export function makePipe(): [read: number, write: number] {
  const ends = new Int32Array(2);
  if (libc.symbols.pipe(new Uint8Array(ends.buffer), O_CLOEXEC) !== 0) fail("make a pipe");
  if (!LINUX) ends.forEach((fd) => setCloseOnExec(fd, true));
  return [ends[0]!, ends[1]!];
}

/**
 * Reads what is there; for a descriptor of which poll(2) has said that something is.
 *
 * @returns how many bytes, 0 or less at the end
 */
export function readSome(fd: number, buffer: Uint8Array<ArrayBuffer>): number {
  return Number(libc.symbols.read(fd, buffer, BigInt(buffer.length)));
}

/** What a process reads. */
export interface Input {
  /** Where it is read: nothing else can be done with it. */
  readonly fd: number;
  /**
   * Adds a text, and with that nothing more. Nothing where all of it had to be there at once.
   *
   * @throws {Error} if the kernel refuses
   */
  readonly add: ((text: string) => void) | undefined;
  /** Lets go of what is added by. */
  close(): void;
}

/** Whether a text can be added to what a process reads. */
export const ADDS_INPUT = LINUX;

/**
 * Makes an input of a text.
 *
 * @param more whether a text is to be added, once its end was read
 * @throws {Error} if the kernel refuses
 */
export function makeInput(text: string, more: boolean): Input {
  const bytes = new TextEncoder().encode(text);
  if (!LINUX) return { fd: filledPipe(bytes), add: undefined, close: () => {} };
  const file = fileInMemory();
  let owned = true;
  const close = () => {
    if (owned) closeDescriptor(file);
    owned = false;
  };
  try {
    write(file, bytes);
    // Opened anew: it has a place of its own in the file, and no right to write.
    const fd = linux.symbols.open(textOf(`/proc/self/fd/${file}`), O_RDONLY_CLOEXEC);
    if (fd < 0) fail("open a file in memory");
    if (!more) seal(file);
    if (!more) close();
    const add = (text: string) => {
      try {
        write(file, new TextEncoder().encode(text));
        seal(file);
      } finally {
        close();
      }
    };
    return { fd, add: more ? add : undefined, close };
  } catch (error) {
    close();
    throw error;
  }
}

function write(fd: number, bytes: Uint8Array<ArrayBuffer>): void {
  const length = BigInt(bytes.length);
  if (linux.symbols.write(fd, bytes, length) !== length) fail("write to a file in memory");
}

function seal(fd: number): void {
  if (linux.symbols.fcntl(fd, F_ADD_SEALS, ALL_SEALS) !== 0) fail("seal a file in memory");
}

function fileInMemory(): number {
  const { memfdCreate } = linux.symbols;
  const name = textOf("holdfast");
  // The flag came with Linux 6.3, and a machine may ask for it since then.
  let fd = memfdCreate(name, MFD_CLOEXEC_SEALABLE | MFD_NOEXEC_SEAL);
  if (fd < 0) fd = memfdCreate(name, MFD_CLOEXEC_SEALABLE);
  if (fd < 0) fail("make a file in memory");
  return fd;
}

/** Written to as it is read: it may be more than a pipe holds. */
function filledPipe(bytes: Uint8Array<ArrayBuffer>): number {
  const [read, write] = makePipe();
  void (async () => {
    for (let done = 0; done < bytes.length;) {
      const rest = bytes.subarray(done);
      const written = Number(await elsewhere.symbols.write(write, rest, BigInt(rest.length)));
      if (written <= 0) break;
      done += written;
    }
    closeDescriptor(write);
  })();
  return read;
}
