/** The examples, copied and started as they are, but for addresses that a test has not. */
import { assertEquals } from "@std/assert";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { Project, REPOSITORY } from "./project.ts";
import { runCommand, Server } from "./server.ts";

/** Pieces of the texts of an example, and what stands in their place. */
export type Edits = readonly (readonly [file: string, from: string, to: string])[];

/** Where examples listen. */
const LISTEN = "127.0.0.1:8000";

/** A copy of an example. It imports Holdfast's own modules by the way that it has in the repository. */
export class Example implements AsyncDisposable {
  readonly #root: string;
  readonly project: Project;

  private constructor(root: string, project: Project) {
    this.#root = root;
    this.project = project;
  }

  static async copy(name: string, edits: Edits = []): Promise<Example> {
    const root = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    await Deno.chmod(root, 0o755);
    const folder = join(root, "examples", name);
    await cp(join(REPOSITORY, "lib/helper/mod.ts"), join(root, "lib/helper/mod.ts"));
    await cp(join(REPOSITORY, "examples", name), folder, {
      recursive: true,
      filter: (from) => !/\/(data|log|\.holdfast)$/.test(from),
    });
    const project = new Project(folder, freePort(), {});
    const place = [["holdfast.jsonc", LISTEN, `127.0.0.1:${project.port}`]] as const;
    const own = edits.some(([file, from]) => file === "holdfast.jsonc" && from.includes(":8000"));
    for (const [file, from, to] of [...own ? [] : place, ...edits]) {
      const path = join(folder, file);
      const text = await Deno.readTextFile(path);
      if (!text.includes(from)) throw new Error(`${path} has no ${from}`);
      await Deno.writeTextFile(path, text.replaceAll(from, to.replace("PORT", `${project.port}`)));
    }
    return new Example(root, project);
  }

  /** Has it judged, and starts it; the project is removed with the server. */
  async start(): Promise<Server> {
    const { code, stderr } = await runCommand(this.project, "check");
    assertEquals([code, stderr], [0, ""]);
    return await Server.startOn(this.project);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#root, { recursive: true });
  }
}
