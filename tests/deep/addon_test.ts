/** Native addons: in a helper that may load them, behind the kernel's wall; and nowhere else. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ANYTHING, HELPER_MODULE } from "../harness/helpers.ts";
import { runCommand, Server } from "../harness/server.ts";
import { Project } from "../harness/project.ts";
import { sleep, until } from "../harness/wait.ts";

/** Each brings a library for this machine. */
const PACKAGES = {
  "sharp": "npm:sharp@0.34.5",
  "@node-rs/argon2": "npm:@node-rs/argon2@2.0.2",
  "@libsql/client": "npm:@libsql/client@0.15.15",
};

const DENO_JSON = JSON.stringify({ imports: { "holdfast/helper": HELPER_MODULE, ...PACKAGES } });

const ADDONS = `
import sharp from "sharp";
import { hash, verify } from "@node-rs/argon2";
import { createClient } from "@libsql/client";
const anything = ${ANYTHING};
const method = (handle) => ({ input: anything, output: anything, handle });
const red = { width: 640, height: 480, channels: 3, background: "red" };
const database = createClient({ url: "file::memory:" });
export default {
  sharp: method(async () => {
    const { format, width } = await sharp(await sharp({ create: red }).resize(64).webp().toBuffer()).metadata();
    return { format, width };
  }),
  argon2: method(async (word) => await verify(await hash(word), word)),
  libsql: method(async () => (await database.execute("select 2 as two")).rows[0].two),
  library: method(() => {
    try {
      Deno.dlopen("libc.so.6", {});
      return "loaded";
    } catch (error) {
      return error.name;
    }
  }),
  run: method(() => {
    try {
      return new Deno.Command("/bin/true").outputSync().code;
    } catch (error) {
      return error.name;
    }
  }),
};
`;

const APP = `
import { helper } from "holdfast/helper";
export default {
  async fetch(request) {
    const name = new URL(request.url).pathname.slice(1);
    try {
      return Response.json(await helper("addons")[name]("secret"));
    } catch (error) {
      return new Response(error.message, { status: 500 });
    }
  },
};
`;

const CONFIG = { helpers: { addons: { module: "./addons.js", native: true } } };
const FILES = { "app.js": APP, "addons.js": ADDONS, "deno.json": DENO_JSON };
const PATIENT = { readyDeadlineMs: 60_000 };

Deno.test("sharp, argon2 and libSQL run in a helper behind the kernel's wall, over reloads", async () => {
  await using server = await Server.start({
    files: FILES,
    config: { app: "./app.js", reload: PATIENT, ...CONFIG },
  });
  const answers = {
    "/sharp": { format: "webp", width: 64 },
    "/argon2": true,
    "/libsql": 2,
    // Its packages alone, and no program.
    "/library": "NotCapable",
    "/run": "NotCapable",
  };
  const ask = async () => {
    for (const [path, answer] of Object.entries(answers)) {
      assertEquals(await (await server.get(path)).json(), answer, path);
    }
  };
  await ask();
  let reloading = true;
  const asked = (async () => {
    for (; reloading; await sleep(20)) await ask();
  })();
  asked.catch(() => {}); // Awaited below.
  try {
    for (let count = 0; count < 3; count++) {
      await server.project.write("app.js", `${APP}// ${count}\n`);
      const { outcome, reason } = await server.reload();
      assertEquals([outcome, reason], ["done", undefined]);
    }
  } finally {
    reloading = false;
  }
  await asked;
  for (const event of ["call_denied", "exec_denied", "worker_lost"]) {
    assertEquals(server.eventsOf(event), []);
  }
});

Deno.test("a native addon elsewhere is refused, with the package and what may load it", async () => {
  await using server = await Server.start({
    files: {
      "app.js": `export default { async fetch() {
        try {
          const { hash } = await import("@node-rs/argon2");
          return new Response(await hash("x"));
        } catch (error) {
          return new Response(error.message);
        }
      } };`,
      "deno.json": DENO_JSON,
    },
    config: { app: "./app.js", reload: PATIENT },
  });
  await server.text();
  const line = await until(
    "the refusal",
    () =>
      server.eventsOf("worker_output").map(({ text }) => String(text)).find((text) =>
        text.includes("native code")
      ),
  );
  assertStringIncludes(line, "@node-rs/argon2");
  assertStringIncludes(line, `in a helper with "native": true`);
});

Deno.test("native code without the kernel's wall is refused by check and by a start", async () => {
  await using project = await Project.create({
    files: FILES,
    config: { app: "./app.js", wall: "deno", ...CONFIG },
  });
  const { code, stderr } = await runCommand(project, "check");
  assertEquals(code, 78);
  assertStringIncludes(stderr, `set "wall": "kernel", or leave "native" out`);
  await project.configure({ wall: "kernel", native: true });
  const worker = await runCommand(project, "check");
  assertEquals(worker.code, 78);
  assert(worker.stderr.includes("native"), worker.stderr);
});
