import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { setSocketMode } from "../lib/os/file.ts";

// The C library is loaded by the first call and stays, which is no leak of a test.
assertThrows(() => setSocketMode("/nothing/here", 0o600), Error, "Cannot open /nothing/here");

Deno.test("a mode is given to a socket, and to nothing that was put in its place", async () => {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_socket_mode_" });
  const path = (name: string) => join(folder, name);
  const modeOf = (name: string) => Deno.statSync(path(name)).mode! & 0o7777;
  try {
    using _listener = Deno.listen({ transport: "unix", path: path("socket") });
    for (const mode of [0o666, 0o600, 0o660]) {
      setSocketMode(path("socket"), mode);
      assertEquals(modeOf("socket"), mode);
    }
    Deno.writeTextFileSync(path("secret"), "", { mode: 0o600 });
    Deno.symlinkSync(path("secret"), path("link"));
    Deno.symlinkSync(path("socket"), path("link_to_socket"));
    Deno.linkSync(path("secret"), path("hard_link"));
    Deno.mkdirSync(path("folder"), { mode: 0o700 });
    for (const name of ["secret", "link", "link_to_socket", "hard_link", "folder"]) {
      assertThrows(() => setSocketMode(path(name), 0o666), Error, "another file is in its place");
    }
    assertEquals(["secret", "folder", "socket"].map(modeOf), [0o600, 0o700, 0o660]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
