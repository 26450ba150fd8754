/** Makes one file of Holdfast itself, which serves the app of the folder that it is started in. */
import { basename, join } from "node:path";
import { VERSION } from "../base/version.ts";
import { prebuiltPath } from "../planner/prebuilt.ts";
import { UNPACKED_FOLDERS } from "../supervisor/unpacked.ts";
import { bundleHoldfast, FLAGS_PROGRAM } from "./bundle_holdfast.ts";
import { requireFileName } from "./name.ts";
import { packFile, readProgram } from "./pack_file.ts";
import type { BuildReport } from "./portable.ts";

/** Builds it. */
export async function buildSelf(output: string): Promise<BuildReport> {
  const startMs = performance.now();
  requireFileName(basename(output));
  const stage = await Deno.makeTempDir({ prefix: "holdfast_compile_" });
  try {
    await bundleHoldfast(join(stage, UNPACKED_FOLDERS.holdfast));
    // Nothing of it lies in a state folder.
    await Deno.writeTextFile(join(stage, "links"), "");
    const packed = await packFile(output, stage, await readProgram(), {
      ...{ NAME: "holdfast", KIND: "holdfast", MODE: "700", RUNTIME: "", SOCKETS: "" },
      VERSIONS: `${VERSION}, Deno ${Deno.version.deno}`,
      FLAGS: prebuiltPath("", FLAGS_PROGRAM),
    });
    return { output, ...packed, ms: Math.round(performance.now() - startMs) };
  } finally {
    await Deno.remove(stage, { recursive: true });
  }
}
