/**
 * The guestbook in a container, built and run as deploy/docker/Dockerfile has it: as a user without rights, on a
 * root file system that nobody may write to, with nothing but busybox, the C library and itself.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Status } from "../../lib/protocol/control.ts";
import { Container } from "../harness/container.ts";
import { runBuildStage, STAGE } from "../harness/dockerfile.ts";
import { testWith } from "../harness/needs.ts";
import { readStatus } from "../harness/process.ts";
import { freePort } from "../harness/ports.ts";

testWith(
  { programs: ["bwrap", "nsenter", "ps", "setpriv", ...STAGE.programs], root: true },
  "the guestbook's container is built as the Dockerfile says, is healthy, serves behind the kernel's wall, reloads, and stops by its signal",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_builds_" });
    try {
      await Deno.chmod(folder, 0o755);
      const { stdout: info } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] })
        .output();
      const { denoDir } = JSON.parse(new TextDecoder().decode(info));
      const root = await runBuildStage(folder, denoDir);
      const port = freePort();
      await using container = await Container.start(
        root,
        JSON.stringify({ listen: [`127.0.0.1:${port}`] }),
      );
      await container.healthy();
      const page = await fetch(`http://127.0.0.1:${port}/`);
      assertStringIncludes(await page.text(), "You were here.");

      const ready = await fetch(`http://127.0.0.1:${port}/ready`);
      assertEquals([ready.status, await ready.text()], [200, "ready\n"]);

      const process = readStatus(await container.pid())!;
      assertEquals(process["Uid"]!.split("\t")[0], String(container.image.user));
      assertEquals([process["CapEff"], process["NoNewPrivs"]], ["0000000000000000", "1"]);
      assertEquals(process["NSpid"]!.split("\t")[1], "1");
      const { code, stdout, stderr } = await container.exec("/app/guestbook", "status", "--json");
      assertEquals(code, 69, "without the state folder it is another installation");
      assertEquals(stdout, "", stderr);
      const told = await container.exec("/app/guestbook", "status", "--state", "/state", "--json");
      const { generations }: Status = JSON.parse(told.stdout);
      assertEquals(generations.length, 1);
      assertStringIncludes(told.stdout, '"wall":"kernel"');

      // The control: it can write where it should.
      const write = (path: string) => container.exec("sh", "-c", `echo written > ${path}`);
      assertEquals((await write("/state/probe")).code, 0);
      for (const path of ["/app/guestbook.jsonc", "/etc/passwd", "/bin/new", "/new"]) {
        const { code, stderr } = await write(path);
        assert(code !== 0, `${path} was written`);
        assertStringIncludes(stderr, "Read-only file system");
      }

      const reload = await container.exec("/app/guestbook", "reload", "--state", "/state");
      assertEquals(reload.code, 0, reload.stderr + container.log.slice(-2000));
      assertEquals(await container.stop(), 0, container.log.slice(-2000));
      assertStringIncludes(container.log, '"event":"stopped"');
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
