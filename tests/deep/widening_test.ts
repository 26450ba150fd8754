/** A reload that grants more than what serves says so, or is refused until it is said to be meant. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { runCommand, Server } from "../harness/server.ts";

const APP = `export default { fetch: () => new Response("one") };\n`;

Deno.test("a reload that grants more is told, or refused where the version that serves says so; diff shows it before", async () => {
  const quick = { idleGraceMs: 100, drainDeadlineMs: 2_000 };
  await using server = await Server.start({
    files: { "app.ts": APP, "data/a": "", "more/b": "" },
    config: { reload: quick, unveil: { "./data": "r" } },
  });
  const { project } = server;
  assertMatch((await runCommand(project, "diff")).stdout, /^As release 1: nothing has changed\n$/);

  await project.configure({ reload: quick, unveil: { "./data": "rw" }, env: ["TZ"] });
  await project.write("app.ts", APP.replace("one", "two"));
  const { stdout } = await runCommand(project, "diff");
  assertStringIncludes(stdout, "Against release 1:");
  assertStringIncludes(stdout, "  ~ app.ts\n");
  assertStringIncludes(stdout, "  + unveil ./data w (worker)");
  const reload = await runCommand(project, "reload");
  assertEquals(reload.code, 0, reload.stderr);
  assertStringIncludes(reload.stdout, "+ unveil ./data w (worker)\n+ env TZ (worker)\n");
  const { added } = await server.waitFor("policy_widened");
  assertEquals(added, ["+ unveil ./data w (worker)", "+ env TZ (worker)"]);

  // The setting that comes with it does not count: that of the version which serves does.
  const ask = { ...quick, widen: "ask" };
  const config = { unveil: { "./data": "rw" }, env: ["TZ"] };
  await project.configure({ ...config, reload: ask });
  assertEquals((await server.reload()).outcome, "done");
  await project.configure({ ...config, unveil: { "./data": "rw", "./more": "r" }, reload: quick });
  const { outcome, reason, hint } = await server.reload();
  assertEquals([outcome, hint], ["refused", "If that is meant: holdfast reload --widen"]);
  assertStringIncludes(String(reason), "+ unveil ./more r (worker)");
  // By the signal, too.
  server.signal("SIGHUP");
  await server.waitFor("reload_refused", 2);
  // So is an upgrade, before the program is replaced.
  const upgrade = await runCommand(project, "upgrade");
  assertEquals(upgrade.code, 1);
  assertStringIncludes(upgrade.stderr, "+ unveil ./more r (worker)");
  assertEquals((await server.status()).upgrades, 0);
  assertEquals(await server.text(), "two");
  assertEquals((await runCommand(project, "reload", "--widen")).code, 0);
  assertEquals((await server.status()).state, "serving");

  // What is taken away is no widening, and a rollback asks nobody.
  await project.configure({ reload: ask });
  assertEquals((await server.reload()).outcome, "done");
  assertEquals((await runCommand(project, "rollback")).code, 0);
});
