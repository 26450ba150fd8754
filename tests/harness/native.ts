/** Executables by `deno compile`, or by `deno run` with the same flags where no base runtime is to be had. */
import { assertRejects, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { buildNative, type NativeOptions } from "../../lib/compile/native.ts";
import { HoldfastError } from "../../lib/base/error.ts";
import { Project } from "./project.ts";

/** Whether `deno compile` has its base runtime here; looked for once. */
export const how: Promise<NativeOptions["how"]> = findHow();

async function findHow(): Promise<NativeOptions["how"]> {
  await using project = await Project.create({});
  const output = join(dirname(project.configFile), "out/app");
  const options = { configFile: project.configFile, output, state: dirname(output) };
  try {
    await buildNative({ ...options, how: "compile" });
    return "compile";
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "base_runtime") throw error;
    return "interpret";
  }
}

/** Builds of one test file; what they leave in the projects goes with them. */
export class NativeBuilds implements AsyncDisposable {
  readonly #folders: string[] = [];
  readonly #left: string[] = [];

  /** Builds one that is to lie in `state`; gives where it is. */
  async make(configFile: string, state: string): Promise<string> {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_native_" });
    this.#folders.push(folder);
    const output = join(folder, "guestbook");
    await buildNative({ configFile, output, state, how: await how });
    if (await how === "interpret") {
      const [, entry] = /'([^']*\/entry\.js)' "\$@"/.exec(await Deno.readTextFile(output))!;
      this.#left.push(dirname(entry!));
    }
    return output;
  }

  /** Where the modules of what was built last lie, if anywhere. */
  get last(): string {
    return this.#left.at(-1)!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const folder of [...this.#folders, ...this.#left]) {
      await Deno.remove(folder, { recursive: true }).catch(() => {});
    }
  }
}

/** The error of a build that has no base runtime. */
export async function failToCompile(configFile: string): Promise<HoldfastError> {
  const output = join(dirname(configFile), "out/app");
  const build = () => buildNative({ configFile, output, state: dirname(output), how: "compile" });
  const error = await assertRejects(build, HoldfastError);
  assertStringIncludes(error.code, "base_runtime");
  return error;
}
