/** Holdfast's sources, a deno and an app in the root of a systemd that has booted. */
import { dirname, join } from "node:path";
import type { BootedSystemd } from "./booted_systemd.ts";
import { PLAIN_APP, REPOSITORY } from "./project.ts";

/** What a checkout has that a start takes. */
const SOURCES = ["deno.json", "deno.lock", "main.ts", "supervisor.ts", "worker.ts", "lib"];

async function run(program: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${program} ${args}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

const denoDir = async () => JSON.parse(await run(Deno.execPath(), "info", "--json")).denoDir;

/** Puts a file below a folder: a text, or a copy. */
export async function put(
  files: string,
  path: string,
  content: string | { readonly from: string },
): Promise<void> {
  const to = join(files, path);
  await Deno.mkdir(dirname(to), { recursive: true });
  if (typeof content === "string") await Deno.writeTextFile(to, content);
  else await Deno.copyFile(content.from, to);
}

/** Puts Holdfast into /opt/holdfast, deno into /usr/local/bin, and what deno would fetch into a cache. */
export async function putHoldfast(systemd: BootedSystemd, cache: string): Promise<void> {
  const made = async (folder: string) => {
    await Deno.mkdir(systemd.path(folder), { recursive: true });
    return systemd.path(folder);
  };
  await put(systemd.path("/"), "usr/local/bin/deno", { from: Deno.execPath() });
  await systemd.must("chmod", "0755", "/usr/local/bin/deno");
  const holdfast = await made("/opt/holdfast");
  for (const name of SOURCES) await run("cp", "-r", join(REPOSITORY, name), join(holdfast, name));
  // There is no network in there: what Deno would fetch is there already.
  const folder = await made(cache);
  for (const name of ["npm", "dl"]) await run("cp", "-r", join(await denoDir(), name), folder);
}

/** Puts an app with its config into a folder. */
export async function putApp(
  systemd: BootedSystemd,
  folder: string,
  config: Record<string, unknown>,
): Promise<void> {
  await put(systemd.path(folder), "app.ts", PLAIN_APP);
  await put(systemd.path(folder), "deno.json", "{}");
  await put(systemd.path(folder), "holdfast.jsonc", JSON.stringify({ app: "./app.ts", ...config }));
}
