/** Other people's apps: each starts behind the kernel's wall, answers, and loses nothing over reloads. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type AppCase, APPS } from "../apps/table.ts";
import { Wire } from "../harness/http.ts";
import { Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

const RELOADS = 5;
const CLIENTS = 2;

/** Between two requests of a client: it is no test of speed. */
const THINK_MS = 20;

async function tryApp(
  { app, packages = {}, config = {}, files = {}, path = "/", answer = /^hello/, refusal }: AppCase,
): Promise<void> {
  const imports = Object.fromEntries(
    Object.entries(packages).flatMap(([name, version]) => [
      [name, `npm:${name}@${version}`],
      [`${name}/`, `npm:/${name}@${version}/`],
    ]),
  );
  await using server = await Server.start({
    files: { "app.js": app, "deno.json": JSON.stringify({ imports }), ...files },
    config: { app: "./app.js", reload: { readyDeadlineMs: 60_000 }, ...config },
  });
  const headers = { connection: "close" };
  const ask = async () => {
    using wire = await Wire.open(server.project.port);
    const { status, text } = await wire.ask(path, { headers });
    assertEquals(status, 200, text);
    assertMatch(text, answer);
  };
  await ask();
  let reloading = true;
  const clients = Array.from({ length: CLIENTS }, async () => {
    let count = 0;
    for (; reloading; count++) {
      await ask();
      await sleep(THINK_MS);
    }
    return count;
  });
  const asked = Promise.all(clients);
  asked.catch(() => {}); // Awaited below.
  try {
    for (let count = 0; count < RELOADS; count++) {
      // A change, so that there is a new image.
      await server.project.write("app.js", `${app}\n// ${count}\n`);
      const { outcome, reason } = await server.reload();
      assertEquals([outcome, reason], ["done", undefined]);
    }
  } finally {
    reloading = false;
  }
  await asked;
  if (refusal === undefined) return;
  // With nothing granted, what is refused first names what was taken away.
  const before = server.events.length;
  await server.project.configure(
    Object.fromEntries(Object.keys(config).map((key) => [key, undefined])),
  );
  const { outcome, reason = "" } = await server.reload();
  if (outcome === "done") await server.text(path);
  const said = await until(
    "a refusal",
    () =>
      [
        ...server.events.slice(before).map(({ text }) => String(text ?? "")),
        reason,
      ].find((text) => /Refused: |Holdfast: /.test(text)),
  );
  assertStringIncludes(said, refusal.replace("PROJECT", server.project.folder));
}

for (const [name, app] of Object.entries(APPS)) {
  const config = JSON.stringify(app.config ?? {});
  Deno.test(`${name}: runs behind the kernel's wall with ${config}, and loses nothing over reloads`, () =>
    tryApp(app));
}
