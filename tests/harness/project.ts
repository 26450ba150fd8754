/** A throw-away project: a folder with an app and a config, on a free port. */
import { join } from "node:path";
import { freePort } from "./ports.ts";

/** The holdfast repository. */
export const REPOSITORY = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/** The variable that names an installed Holdfast; see installation.ts. */
export const INSTALLATION_VARIABLE = "HOLDFAST_TEST_INSTALLATION";

/** The Holdfast that tests start: the one that the run has installed, or else the sources. */
export const HOLDFAST = Deno.env.get(INSTALLATION_VARIABLE) ?? REPOSITORY;

/** An app without any dependency that says which version of it answers. */
export const PLAIN_APP = `
const VERSION = "one";
export default {
  fetch(request) {
    return new Response(VERSION + " " + new URL(request.url).pathname);
  },
};
`;

export interface ProjectOptions {
  /** Files by their relative paths; `app.ts` is {@link PLAIN_APP} if none is given. */
  readonly files?: Readonly<Record<string, string>>;
  /** Keys of the config, over `app` and `listen`. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export class Project implements AsyncDisposable {
  readonly folder: string;
  readonly port: number;
  #config: Record<string, unknown>;

  constructor(folder: string, port: number, config: Record<string, unknown>) {
    this.folder = folder;
    this.port = port;
    this.#config = config;
  }

  static async create({ files = {}, config = {} }: ProjectOptions = {}): Promise<Project> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    const port = freePort();
    const listen = [`127.0.0.1:${port}`];
    const project = new Project(folder, port, { app: "./app.ts", listen, ...config });
    for (const [path, text] of Object.entries({ "app.ts": PLAIN_APP, ...files })) {
      await project.write(path, text);
    }
    await project.configure({});
    return project;
  }

  get configFile(): string {
    return join(this.folder, "holdfast.jsonc");
  }

  /** Where the control socket lies. */
  get runtime(): string {
    return this.path((this.#config.runtime as string | undefined) ?? ".holdfast");
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  path(relative: string): string {
    return join(this.folder, relative);
  }

  async write(relative: string, text: string): Promise<void> {
    const path = this.path(relative);
    await Deno.mkdir(join(path, ".."), { recursive: true });
    // Renamed into place: a reload at this moment must not find half of it.
    await Deno.writeTextFile(`${path}.new`, text);
    await Deno.rename(`${path}.new`, path);
  }

  /** Changes keys of the config and writes it. */
  async configure(changes: Readonly<Record<string, unknown>>): Promise<void> {
    this.#config = { ...this.#config, ...changes };
    await this.write("holdfast.jsonc", JSON.stringify(this.#config));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}
