/** Processes that have private temporary folders, and what they say of them. */
import { assert, assertEquals } from "@std/assert";
import { plainHelper, TELLING_APP } from "./helpers.ts";
import { until } from "./wait.ts";

const QUICK = { drainDeadlineMs: 5_000, idleGraceMs: 100 };

/** An app and a helper that do what they are told. */
export const FILES = { "app.ts": TELLING_APP, "job.ts": plainHelper() };
/** Each has a temporary folder. */
export const CONFIG = {
  tmp: true,
  helpers: { job: { module: "./job.ts", tmp: true } },
  reload: QUICK,
};

/** Where temporary files go, by everything that says so. */
export const LOOK = `
  const os = await import("node:os");
  const made = Deno.makeTempDirSync();
  const file = await Deno.makeTempFile({ suffix: ".txt" });
  await Deno.writeTextFile(file, "written");
  const { mode, uid } = Deno.statSync(os.tmpdir());
  return {
    folder: os.tmpdir(),
    variable: process.env.TMPDIR,
    places: [made, file].map((path) => path.slice(0, path.lastIndexOf("/"))),
    text: await Deno.readTextFile(file),
    mode: mode & 0o777,
    uid,
  };`;

/** What {@link LOOK} comes to. */
export interface Look {
  readonly folder: string;
  readonly uid: number;
}

/** Sees to it that all of them mean one private folder, and gives that. */
export function assertLook(look: unknown, runtime: string): Look {
  const { folder, uid, ...rest } = look as Look;
  assert(folder?.startsWith(`${runtime}/tmp/`), JSON.stringify(look));
  assertEquals(rest as unknown, {
    variable: folder,
    places: [folder, folder],
    text: "written",
    mode: 0o700,
  });
  return { folder, uid };
}

/** Waits until these are there no more. */
export async function gone(...paths: string[]): Promise<void> {
  for (const path of paths) {
    await until(`the end of ${path}`, () => {
      try {
        Deno.lstatSync(path);
        return false;
      } catch (error) {
        return error instanceof Deno.errors.NotFound;
      }
    });
  }
}
