/** Packages of a registry of one's own: it wants a token, or is reached by a proxy alone. */
import { assert, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { findDenoDir } from "../../lib/supervisor/image_store.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";

const TOKEN = "token-of-a-private-registry";
const PACKAGE = "@private/price";

/** A registry with one package, which may be a proxy too: then it is asked for whole URLs. */
class Registry implements AsyncDisposable {
  readonly asked: { url: string; token: string | null }[] = [];
  readonly #tarball: Uint8Array<ArrayBuffer>;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(tarball: Uint8Array<ArrayBuffer>, wants: string | undefined) {
    this.#tarball = tarball;
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      const token = request.headers.get("authorization");
      this.asked.push({ url: request.url, token });
      if (wants !== undefined && token !== `Bearer ${wants}`) {
        return new Response("who are you?", { status: 401 });
      }
      return this.#answer(new URL(request.url));
    });
  }

  static async start(folder: string, wants?: string): Promise<Registry> {
    await Deno.mkdir(join(folder, "package"), { recursive: true });
    const write = (name: string, text: string) =>
      Deno.writeTextFile(join(folder, "package", name), text);
    await write(
      "package.json",
      JSON.stringify({ name: PACKAGE, version: "1.0.0", type: "module", exports: "./index.js" }),
    );
    await write("index.js", "export const price = 42;\n");
    const { code } = await new Deno.Command("tar", {
      args: ["-czf", join(folder, "price.tgz"), "-C", folder, "package"],
    }).output();
    assertEquals(code, 0);
    return new Registry(await Deno.readFile(join(folder, "price.tgz")), wants);
  }

  get port(): number {
    return this.#server.addr.port;
  }

  #answer({ origin, pathname }: URL): Response {
    if (pathname.endsWith(".tgz")) return new Response(this.#tarball);
    if (decodeURIComponent(pathname) !== `/${PACKAGE}`) return new Response("", { status: 404 });
    const integrity = `sha512-${createHash("sha512").update(this.#tarball).digest("base64")}`;
    const dist = { tarball: `${origin}/price-1.0.0.tgz`, integrity };
    const version = { name: PACKAGE, version: "1.0.0", dist };
    return Response.json({
      name: PACKAGE,
      "dist-tags": { latest: "1.0.0" },
      versions: { "1.0.0": version },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

const APP = `
  import { price } from "npm:${PACKAGE}@1.0.0";
  export default { fetch: () => new Response("price " + price) };
`;

/** The files below a folder that have a text in them. */
async function filesWith(text: string, folder: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("grep", { args: ["-rlaF", "-e", text, folder] })
    .output();
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
}

/** What of the user's cache comes from such a registry goes with the test. */
async function forget(host: string): Promise<void> {
  const npm = join(findDenoDir(), "npm");
  for await (const { name } of Deno.readDir(npm)) {
    if (name.includes(host)) await Deno.remove(join(npm, name), { recursive: true });
  }
}

Deno.test("packages of a private registry are fetched with its token, which no worker, image and plan has", async () => {
  const project = await Project.create({ files: { "app.ts": APP, "deno.json": "{}" } });
  const registry = await Registry.start(project.path("registry"), TOKEN);
  const host = `127.0.0.1:${registry.port}`;
  await project.write(
    ".npmrc",
    `@private:registry=http://${host}/\n//${host}/:_authToken=\${PRIVATE_TOKEN}\n`,
  );
  try {
    await using server = await Server.startOn(project, { env: { PRIVATE_TOKEN: TOKEN } });
    assertEquals(await server.text("/"), "price 42");
    assert(registry.asked.length >= 2, "the package and what is in it");
    assertEquals(new Set(registry.asked.map(({ token }) => token)), new Set([`Bearer ${TOKEN}`]));
    assertEquals(await filesWith(TOKEN, project.runtime), []);
    const { pid } = (await server.status()).generations[0]!.workers[0]!.process!;
    const environment = await Deno.readTextFile(`/proc/${pid}/environ`);
    assertEquals(environment.includes(TOKEN), false);
    assertEquals(server.log.includes(TOKEN), false);
    // Nothing is asked again, with or without the registry.
    const { length } = registry.asked;
    await registry[Symbol.asyncDispose]();
    await project.write("app.ts", APP.replace('price "', 'now "'));
    assertEquals((await server.reload()).outcome, "done", server.log);
    assertEquals([await server.text("/"), registry.asked.length], ["now 42", length]);
  } finally {
    await forget(String(registry.port));
  }
});

Deno.test("packages are fetched through the proxy that the environment names", async () => {
  const project = await Project.create({ files: { "app.ts": APP, "deno.json": "{}" } });
  const host = "packages.invalid";
  await project.write(".npmrc", `@private:registry=http://${host}/\n`);
  try {
    await using proxy = await Registry.start(project.path("registry"));
    const env = { HTTP_PROXY: `http://127.0.0.1:${proxy.port}`, NO_PROXY: "" };
    await using server = await Server.startOn(project, { env });
    assertEquals(await server.text("/"), "price 42");
    assertEquals(new Set(proxy.asked.map(({ url }) => new URL(url).host)), new Set([host]));
  } finally {
    await forget(host);
  }
});
