/**
 * The guestbook's maker of thumbnails, as a program on its standard streams: each photo comes with
 * its length before it, and so does each answer. What `handle` throws ends the process.
 */
import thumbnails from "../../examples/guestbook/helpers/thumbnails.ts";

// What this proves hangs on it.
for (const name of ["read", "write", "net", "env", "run", "ffi", "sys", "import"] as const) {
  const { state } = Deno.permissions.querySync({ name });
  if (state !== "denied") throw new Error(`Cannot start: "${name}" is ${state}, not denied`);
}

const { signal } = new AbortController();
const input = bytesOf(Deno.stdin.readable);
const output = Deno.stdout.writable.getWriter();

for (let head = await input(4); head !== undefined; head = await input(4)) {
  const photo = (await input(new DataView(head.buffer).getUint32(0)))!;
  const made = await thumbnails.make.handle({ photo }, { signal });
  const blobs = made.outcome === "picture" ? [made.picture.bytes, made.thumbnail.bytes] : [];
  const text = new TextEncoder().encode(
    JSON.stringify(made, (key, value) => key === "bytes" ? undefined : value),
  );
  for (const part of [text, ...blobs]) {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, part.length);
    await output.write(length);
    await output.write(part);
  }
}

/** Reads so many bytes at a time, and nothing where the stream ends instead. */
function bytesOf(stream: ReadableStream<Uint8Array>) {
  const reader = stream.getReader();
  let rest = new Uint8Array();
  return async (count: number): Promise<Uint8Array<ArrayBuffer> | undefined> => {
    const found = new Uint8Array(count);
    for (let at = 0; at < count;) {
      if (rest.length === 0) {
        const { value, done } = await reader.read();
        if (done) return undefined;
        rest = new Uint8Array(value);
      }
      const piece = rest.subarray(0, count - at);
      found.set(piece, at);
      at += piece.length;
      rest = rest.subarray(piece.length);
    }
    return found;
  };
}
