/** One file of Holdfast itself: it serves the app of any folder, with nothing else installed. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { buildSelf } from "../../lib/compile/self.ts";
import { testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { processesIn } from "../harness/process.ts";
import { killQuietly, ProcessLog, waitForEvent } from "../harness/process_log.ts";
import { PATIENCE_MS } from "../harness/wait.ts";

const APP = (text: string) => `export default { fetch: () => new Response("${text}") };`;

testWith(
  { builds: true },
  "one file of Holdfast serves the app of a folder: start, HUP, upgrade, status, stop",
  async (t) => {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    try {
      // Root's processes have accounts of their own, which have to get in.
      await Deno.chmod(folder, 0o755);
      const [file, app] = [join(folder, "holdfast"), join(folder, "an app")];
      for (const path of [app, join(folder, "home")]) await Deno.mkdir(path);
      await buildSelf(file);
      const port = freePort();
      await Deno.writeTextFile(join(app, "main.ts"), APP("one"));
      await Deno.writeTextFile(
        join(app, "holdfast.jsonc"),
        JSON.stringify({ app: "./main.ts", listen: [`127.0.0.1:${port}`], runtime: "./run" }),
      );
      // No Deno and no Node; and a variable that would give every program a flag.
      const env = {
        ...{ HOME: join(folder, "home"), PATH: "/usr/bin:/bin" },
        DENO_V8_FLAGS: "--expose-gc",
      };
      const run = async (...args: string[]) => {
        const { code, stdout, stderr } = await new Deno.Command(file, {
          ...{ args, cwd: app, env, clearEnv: true, stdin: "null" },
          signal: AbortSignal.timeout(PATIENCE_MS),
        }).output();
        const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
        return { code, stdout: text(stdout), stderr: text(stderr) };
      };
      const server = ProcessLog.spawn([file, "start"], { cwd: app, env, clearEnv: true });
      await waitForEvent(server, "serving", 1);
      const answer = async () => {
        const response = await fetch(`http://127.0.0.1:${port}/`, {
          headers: { connection: "close" },
        });
        return await response.text();
      };
      assertEquals(await answer(), "one");

      await t.step("the supervisor is the process that was started, and is narrowed", () => {
        const words = Deno.readTextFileSync(`/proc/${server.pid}/cmdline`).split("\0");
        assertStringIncludes(words[0]!, join(folder, "home/.cache/holdfast/deno-"));
        const writes = words.filter((word) => word.startsWith("--allow-write"));
        assertEquals(writes, [`--allow-write=${join(app, "run")}`]);
        assertEquals(words.filter((word) => /^(-A|--allow-(all|run))$/.test(word)), []);
        const variables = Deno.readTextFileSync(`/proc/${server.pid}/environ`);
        assertEquals(variables.includes("DENO_V8_FLAGS"), false);
      });

      await t.step("HUP takes new code, and an upgrade keeps the process", async () => {
        await Deno.writeTextFile(join(app, "main.ts"), APP("two"));
        server.child.kill("SIGHUP");
        await waitForEvent(server, "reload_done", 1);
        assertEquals(await answer(), "two");
        const upgraded = await run("upgrade");
        assertEquals([upgraded.code, upgraded.stderr], [0, ""]);
        assertStringIncludes(upgraded.stdout, `pid ${server.pid}`);
        assertEquals(await answer(), "two");
      });

      await t.step("each command finds what it may do, wherever the options stand", async () => {
        assertStringIncludes((await run("status")).stdout, `listening on 127.0.0.1:${port}`);
        for (const args of [["check"], ["--config", "holdfast.jsonc", "check"]]) {
          const { code, stdout } = await run(...args);
          assertEquals([code, stdout], [0, `${join(app, "holdfast.jsonc")}: ok\n`], args.join());
        }
        assertMatch((await run("--version")).stdout, /^holdfast \d+\.\d+\.\d+ \(deno /);
        const both = await run("compile", "--self", "--portable");
        assertEquals(both.code, 64);
        assertStringIncludes(both.stderr, "--portable cannot be combined with --self");
      });

      const stopped = await run("stop");
      assertEquals([stopped.code, stopped.stderr], [0, ""]);
      assertStringIncludes(stopped.stdout, `on 127.0.0.1:${port}`);
      assertEquals((await server.ended(PATIENCE_MS)).status.code, 0);
    } finally {
      processesIn(folder).forEach((pid) => killQuietly(pid));
      await Deno.remove(folder, { recursive: true });
    }
  },
);
