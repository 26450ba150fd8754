/** A worker like any other, but that it takes every permission without complaint. */
import { PROTOCOL_VERSION } from "../../lib/protocol/version.ts";
import { runWorker } from "../../lib/worker/run.ts";

await runWorker({
  version: PROTOCOL_VERSION,
  load: () => import("holdfast:app"),
  judge: () => [],
});
