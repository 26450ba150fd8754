/**
 * The worker: speaks HTTP and runs the app, and may do nothing else. The supervisor bundles this
 * file, puts the app's module in the place of `holdfast:app` and hands the text to a narrowed
 * `deno run` on its standard input.
 */
import { PROTOCOL_VERSION } from "./lib/protocol/version.ts";
import { runWorker } from "./lib/worker/run.ts";

await runWorker({ version: PROTOCOL_VERSION, load: () => import("holdfast:app") });
