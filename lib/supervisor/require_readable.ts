/** Sees to it that an account can read what it is to run. */
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { covers } from "../base/covers.ts";
import { foldersAbove } from "../config/paths.ts";
import { unlessAbsent } from "../config/real_place.ts";
import { runErrand } from "./errand.ts";
import { imagesIn } from "./image_store.ts";

/**
 * Sees to it that the workers' account can read the image, by asking as that account.
 *
 * @param program of a spawner's thread, where it comes from no file
 * @throws {HoldfastError} that says what to set
 */
export async function requireReadable(
  { account, file, runtime }: Config,
  images: string,
  program?: string,
): Promise<void> {
  if (account === undefined) return;
  // What is there of where they are to lie.
  const path = [images, imagesIn(runtime)].find((each) => covers(runtime, each))!;
  const [folder = runtime] = [path, ...foldersAbove(path)].filter((each) =>
    unlessAbsent(() => Deno.statSync(each)).isDirectory
  );
  const errand = { errand: "enter" as const, path: folder, account };
  if ((await runErrand(errand, program)).type === "done") return;
  throw new HoldfastError(
    `The user ${account.user} (uid ${account.uid}) cannot enter ${folder}, where its code is kept`,
    {
      kind: "config",
      code: "code_unreadable",
      hint: `Set runtime in ${file} to a folder that this user may enter, such as /run/holdfast`,
    },
  );
}
