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
const SEEK_SET = 0;

const libc = loadLibc({
  // The call without flags takes no notice of them.
  pipe: { name: LINUX ? "pipe2" : "pipe", parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
});

const linux = loadLibc({
  memfdCreate: { name: "memfd_create", parameters: ["buffer", "u32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
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

/**
 * A descriptor from which a text can be read, and nothing else be done with it.
 *
 * @throws {Error} if the kernel refuses
 */
export function textToRead(text: string): number {
  const bytes = new TextEncoder().encode(text);
  return LINUX ? sealedFile(bytes) : filledPipe(bytes);
}

function sealedFile(bytes: Uint8Array<ArrayBuffer>): number {
  const { memfdCreate, fcntl, lseek, write } = linux.symbols;
  const name = textOf("holdfast");
  // The flag came with Linux 6.3, and a machine may ask for it since then.
  let fd = memfdCreate(name, MFD_CLOEXEC_SEALABLE | MFD_NOEXEC_SEAL);
  if (fd < 0) fd = memfdCreate(name, MFD_CLOEXEC_SEALABLE);
  if (fd < 0) fail("make a file in memory");
  try {
    const length = BigInt(bytes.length);
    if (write(fd, bytes, length) !== length) fail("write to a file in memory");
    if (fcntl(fd, F_ADD_SEALS, ALL_SEALS) !== 0) fail("seal a file in memory");
    lseek(fd, 0n, SEEK_SET);
    return fd;
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
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
