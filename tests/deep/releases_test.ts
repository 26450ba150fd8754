/** Releases: what has served is listed, kept over restarts, and brought back as it was. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Release } from "../../lib/protocol/control.ts";
import { Images } from "../../lib/supervisor/images.ts";
import { version } from "../harness/life.ts";
import { Project } from "../harness/project.ts";
import { runCommand, Server, type ServerOptions } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const RELOAD = { idleGraceMs: 100 };

/** How many clients ask at the same time. */
const CLIENTS = 8;

async function list(project: Project): Promise<Release[]> {
  const { code, stdout, stderr } = await runCommand(project, "releases", "--json");
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}

/** Writes another version of the app and reloads. */
async function bringIn(server: Server, text: string): Promise<void> {
  await server.project.write("app.ts", version(text));
  assertEquals((await server.reload()).outcome, "done", server.log);
  assertEquals(await server.text("/"), `${text} /`);
}

async function untilOneGeneration(server: Server): Promise<void> {
  await until("one generation", async () => (await server.status()).generations.length === 1);
}

/** The images in the runtime folder. */
function imagesOf(project: Project): string[] {
  return namesIn(project.path(".holdfast/images")).filter((name) => /^[0-9a-f]{64}$/.test(name));
}

/** Asks all the time, until told to stop; gives every answer, and what went wrong. */
function askAllTheTime(server: Server) {
  const answers: string[] = [];
  const failures: string[] = [];
  let asking = true;
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (asking) {
      try {
        const response = await server.get("/");
        const text = await response.text();
        if (response.ok) answers.push(text);
        else failures.push(`${response.status} ${text}`);
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
  });
  return {
    answers,
    async stop(): Promise<string[]> {
      asking = false;
      await Promise.all(clients);
      return failures;
    },
  };
}

/** Serves on a project that stays when the server has stopped. */
async function startAgain(project: Project, options: ServerOptions = {}): Promise<Server> {
  return await Server.startOn(project, options);
}

Deno.test("what has served is listed, and brought back while requests go on, with the project untouched", async (t) => {
  const project = await Project.create({ config: { reload: RELOAD } });
  {
    const server = await startAgain(project);
    await bringIn(server, "two");
    await bringIn(server, "three");

    await t.step(
      "the list has each with what changed, how long it served and how it ended",
      async () => {
        const releases = await list(project);
        assertEquals(releases.map(({ release }) => release), [3, 2, 1]);
        assertEquals(releases.map(({ serving }) => serving), [true, false, false]);
        assertEquals(releases.map(({ ended }) => ended), [null, "replaced", "replaced"]);
        const app = `file://${project.path("app.ts")}`;
        assertEquals(releases.map(({ changed }) => changed), [[app], [app], []]);
        assertEquals(releases.map(({ changedCount }) => changedCount), [1, 1, 0]);
        assert(
          releases.every(({ at, servedMs }) => Date.parse(at) > 0 && servedMs > 0),
          server.log,
        );
        const { stdout } = await runCommand(project, "releases");
        assertStringIncludes(stdout, "app.ts");
      },
    );

    await t.step("a reload that brings nothing new makes no release", async () => {
      assertEquals((await server.reload()).outcome, "done");
      assertEquals((await list(project)).map(({ release }) => release), [3, 2, 1]);
    });

    await t.step("a rollback brings back what served before, and no request fails", async () => {
      await project.write("broken.ts", "export default {");
      await project.write("app.ts", "import './broken.ts';");
      const asking = askAllTheTime(server);
      await until("answers of the new one", () => asking.answers.includes("three /"));
      const { code, stdout, stderr } = await runCommand(project, "rollback");
      assertEquals(code, 0, stderr);
      assertStringIncludes(stdout, "Generation ");
      const count = asking.answers.length;
      await until("more answers", () => asking.answers.length > count + CLIENTS);
      assertEquals(await asking.stop(), []);
      const since = asking.answers.slice(count + CLIENTS);
      assert(since.every((answer) => answer === "two /"), JSON.stringify(since));
      assertEquals(new Set(asking.answers), new Set(["three /", "two /"]));
      assertEquals(await Deno.readTextFile(project.path("app.ts")), "import './broken.ts';");
      const [now, before] = await list(project);
      assertEquals([now!.release, now!.serving, before!.release], [4, true, 3]);
    });

    await t.step(
      "it comes up again when its worker dies, though the project is broken",
      async () => {
        await untilOneGeneration(server);
        const [pid] = await server.workers();
        Deno.kill(pid!, "SIGKILL");
        await until("another worker", async () => {
          const [next] = await server.workers();
          return next !== undefined && next !== pid;
        });
        assertEquals(await server.text("/"), "two /");
      },
    );

    await t.step("a release is brought back by its number", async () => {
      const { code, stderr } = await runCommand(project, "rollback", "1");
      assertEquals(code, 0, stderr);
      assertEquals(await server.text("/"), "one /");
    });

    await t.step("one that is not kept is refused, and those that are kept are named", async () => {
      const { code, stderr } = await runCommand(project, "rollback", "99");
      assertEquals(code, 1);
      assertStringIncludes(stderr, "There is no release 99; those that are kept: 5, 4, 3, 2, 1");
      assertEquals(await server.text("/"), "one /");
    });

    await t.step(
      "a reload takes the project again, and is refused while that is broken",
      async () => {
        assertEquals((await server.reload()).outcome, "refused");
        await bringIn(server, "four");
      },
    );

    await untilOneGeneration(server);
    assertEquals((await server.stop()).code, 0);
  }

  await t.step(
    "a start after a stop keeps the list, and brings back what served before it",
    async () => {
      await project.write("app.ts", version("five"));
      await using server = await startAgain(project);
      const releases = await list(project);
      assertEquals(releases.map(({ release }) => release), [7, 6, 5, 4, 3, 2]);
      assertEquals(releases.map(({ ended }) => ended).slice(0, 3), [null, "stopped", "replaced"]);
      const { code, stderr } = await runCommand(project, "rollback");
      assertEquals(code, 0, stderr);
      assertEquals(await server.text("/"), "four /");
      assertEquals((await runCommand(project, "rollback", "5")).code, 0);
      assertEquals(await server.text("/"), "one /");
    },
  );
});

Deno.test("what served before a restart of the same version is still what a rollback brings back", async () => {
  const project = await Project.create({ config: { reload: RELOAD } });
  const first = await startAgain(project);
  await bringIn(first, "two");
  await first.stop();
  await using server = await startAgain(project);
  const releases = await list(project);
  assertEquals(releases.map(({ release, serving }) => [release, serving]), [[2, true], [1, false]]);
  assertEquals((await runCommand(project, "rollback")).code, 0);
  assertEquals(await server.text("/"), "one /");
});

Deno.test("a folder of unveil that the start made makes no second release of the same version", async () => {
  await using server = await Server.start({ config: { unveil: { "./data/": "rwc" } } });
  assertEquals((await server.reload()).outcome, "done", server.log);
  assertEquals((await list(server.project)).map(({ release }) => release), [1]);
});

Deno.test("no more images are kept than reload.keep says, nor of a version that is refused", async () => {
  await using server = await Server.start({ config: { reload: { ...RELOAD, keep: 1 } } });
  const { project } = server;
  await bringIn(server, "two");
  await bringIn(server, "three");
  await untilOneGeneration(server);
  await until("two images", () => imagesOf(project).length === 2);
  assertEquals((await list(project)).map(({ release }) => release), [3, 2]);

  const kept = imagesOf(project).sort();
  await project.write("app.ts", "throw new Error('no good');");
  assertEquals((await server.reload()).outcome, "refused");
  assertEquals(imagesOf(project).sort(), kept);
  assertEquals((await server.status()).generations.length, 1);

  assertEquals((await runCommand(project, "rollback")).code, 0);
  assertEquals(await server.text("/"), "two /");
  assertEquals((await runCommand(project, "rollback", "1")).code, 1);
});

Deno.test("an image that somebody has changed is not brought back", async () => {
  await using server = await Server.start({ config: { reload: RELOAD } });
  const { project } = server;
  const [first] = imagesOf(project);
  await bringIn(server, "two");
  const images = project.path(".holdfast/images");
  const [settings] = namesIn(`${images}/settings`);
  for (
    const [path, from, to] of [
      [`${first}/worker/image.js`, "one", "bad"],
      [`settings/${settings}/deno.json`, "[]", '["../evil"]'],
    ] as const
  ) {
    const text = await Deno.readTextFile(`${images}/${path}`);
    await Deno.writeTextFile(`${images}/${path}`, text.replace(from, to));
    const { code, stderr } = await runCommand(project, "rollback");
    assertEquals(code, 1, path);
    assertStringIncludes(stderr, "is not what was planned");
    assertEquals(await server.text("/"), "two /");
    await Deno.writeTextFile(`${images}/${path}`, text);
  }
  assertEquals((await runCommand(project, "rollback")).code, 0);
});

Deno.test("nothing is removed while an image is being made, and what nobody uses after it", async () => {
  await using project = await Project.create();
  const images = project.path("images");
  const [image, packages] = ["a".repeat(64), `packages/${"b".repeat(64)}`];
  const makeBoth = async () => {
    for (const path of [image, packages, "compiled"]) {
      await Deno.mkdir(`${images}/${path}`, { recursive: true });
    }
  };
  const living: { code: { folder: string } }[] = [];
  const store = new Images({
    system: { ownsImages: true },
    runtime: { folder: project.folder },
    generations: {
      get all() {
        return living as never[];
      },
    },
    inherited: () => false,
  });
  await store.during(async () => {
    await makeBoth();
    // As when a generation ends meanwhile.
    store.prune();
    assertEquals(namesIn(images), ["compiled", image, "packages"].sort());
    await Deno.writeTextFile(`${images}/${image}/packages`, "b".repeat(64));
    living.push({ code: { folder: `${images}/${image}` } });
  });
  assertEquals(namesIn(images), ["compiled", image, "packages"].sort());
  assertEquals(namesIn(`${images}/packages`), ["b".repeat(64)]);
  living.pop();
  store.prune();
  assertEquals([...Deno.readDirSync(project.folder)].some(({ name }) => name === "images"), false);
});

function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}
