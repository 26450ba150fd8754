/** The packages that servers use most, in one app with nothing granted, each on a path of its own. */
import { assertEquals } from "@std/assert";
import { PACKAGES } from "../apps/packages.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const IMPORTS = Object.fromEntries(
  Object.entries(PACKAGES).flatMap(([name, { version }]) => [
    [name, `npm:${name}@${version}`],
    [`${name}/`, `npm:/${name}@${version}/`],
  ]),
);

const APP = `
const uses = {
${
  Object.entries(PACKAGES).map(([name, { use }]) =>
    `  ${JSON.stringify(name)}: async () => { ${use} },\n`
  ).join("")
}};
export default {
  async fetch(request) {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    try {
      return Response.json({ answer: await uses[name]() });
    } catch (error) {
      return Response.json({ error: error.stack ?? String(error) });
    }
  },
};
`;

/** Some hundred packages are fetched, and copied into an image. */
const COPY_PATIENCE_MS = 300_000;

async function fetchPackages({ folder }: Project): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "app.js"],
    cwd: folder,
    signal: AbortSignal.timeout(COPY_PATIENCE_MS),
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

Deno.test("the packages that servers use most run behind the kernel's wall, with nothing granted", async (t) => {
  const project = await Project.create({
    files: { "app.js": APP, "deno.json": JSON.stringify({ imports: IMPORTS }) },
    config: {
      app: "./app.js",
      reload: { readyDeadlineMs: 60_000 },
      // PGlite keeps the event loop busy while a whole database starts.
      watchdog: { pulseDeadlineMs: 120_000 },
    },
  });
  await fetchPackages(project);
  await using server = await Server.startOn(project, { wait: "nothing" });
  const ended = server.ended.then(() => {
    throw new Error(`It did not start:\n${server.log.slice(-4000)}`);
  });
  const serves = () => server.eventsOf("serving").length > 0;
  await Promise.race([until("it to serve", serves, COPY_PATIENCE_MS), ended]);
  ended.catch(() => {}); // It ends when the test does.
  const ask = async (name: string) => {
    const signal = AbortSignal.timeout(COPY_PATIENCE_MS);
    return await (await server.get(`/${encodeURIComponent(name)}`, { signal })).json();
  };
  for (const [name, { version, answer }] of Object.entries(PACKAGES)) {
    await t.step(`${name}@${version}`, async () => {
      const logged = server.events.length;
      const answered = await ask(name);
      const said = server.events.slice(logged).map(({ text }) => text).join("\n");
      assertEquals(answered, { answer }, said);
    });
  }
  // The same process has answered all of them, and the next one does as well.
  assertEquals(server.eventsOf("worker_lost"), []);
  const { outcome, reason } = await server.reload();
  assertEquals([outcome, reason], ["done", undefined]);
  await t.step("after a reload", async () => {
    for (const [name, { answer }] of Object.entries(PACKAGES)) {
      assertEquals(await ask(name), { answer }, name);
    }
  });
});
