/** What `holdfast init` writes from a checkout: it passes its own tests, check and an audit. More: npm_test.ts. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { REPOSITORY } from "../harness/project.ts";
import { until } from "../harness/wait.ts";

const HOLDFAST = ["run", "--no-prompt", "-A", join(REPOSITORY, "main.ts")];

class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async make(files: Readonly<Record<string, string>> = {}): Promise<Folder> {
    const path = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(join(path, name), text);
    }
    return new Folder(path);
  }

  /** Runs deno there, and gives what it printed. */
  async deno(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      ...{ args, cwd: this.path, stdin: "null", env: { NO_COLOR: "1" } },
    }).output();
    const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("");
    assertEquals(code, 0, `${args.join(" ")}: ${text}`);
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** Attempts of several kinds: files, programs, the network. */
const SAMPLE = ["audit", "--only", "FR1,EX4.shell,NW1,FW1.write"];

Deno.test("the new app of init passes its own tests, check and an audit", async () => {
  await using folder = await Folder.make();
  assertStringIncludes(await folder.deno(...HOLDFAST, "init", "--yes"), "A new app in");
  assertStringIncludes(await folder.deno("task", "test"), "2 passed");
  await folder.deno("check", "main.tsx", "main.test.ts");
  assertStringIncludes(await folder.deno(...HOLDFAST, "check"), ": ok\n");
  assertStringIncludes(await folder.deno(...HOLDFAST, ...SAMPLE), "nothing got through");
});

testWith(
  { programs: ["script"] },
  "init asks two questions on a terminal, and takes its own proposals for an Enter",
  async () => {
    const port = freePort();
    await using folder = await Folder.make({
      "server.ts": `Deno.serve({ port: ${port} }, () => new Response("Hello"));`,
    });
    const words = [Deno.execPath(), ...HOLDFAST, "init"].map((word) => `'${word}'`).join(" ");
    const process = new Deno.Command("script", {
      args: ["--quiet", "--return", "--command", words, "/dev/null"],
      ...{ cwd: folder.path, env: { SHELL: "/bin/sh", TERM: "xterm" } },
      ...{ stdin: "piped", stdout: "piped", stderr: "inherit" },
    }).spawn();
    let text = "";
    const reading = process.stdout.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({ write: (chunk) => void (text += chunk) }),
    );
    const writer = process.stdin.getWriter();
    for (const question of ["Which module is the app?", "Which port is it to listen on?"]) {
      await until(`the question ${question}`, () => text.includes(question));
      await writer.write(new TextEncoder().encode("\r"));
    }
    await writer.close();
    await reading;
    assertEquals((await process.status).code, 0, text);
    // Whatever else is asked ends with a mark of its own; codes of the terminal begin with an escape.
    // deno-lint-ignore no-control-regex
    assertEquals(text.replace(/\u001b\[\?/g, "").match(/\?/g)?.length, 2, text);
    const config = await Deno.readTextFile(join(folder.path, "holdfast.jsonc"));
    for (const line of ['"app": "./server.ts"', `"127.0.0.1:${port}"`]) {
      assert(config.includes(line), config);
    }
    assertStringIncludes(await folder.deno(...HOLDFAST, "check"), ": ok\n");
  },
);
