/** A worker like any other, but that it takes every permission without complaint. */
import { installImage } from "../../lib/child/module_image.ts";
import { PROTOCOL_VERSION } from "../../lib/protocol/version.ts";
import { runWorker } from "../../lib/worker/run.ts";

await runWorker({
  version: PROTOCOL_VERSION,
  prepare: () => installImage(),
  load: () => import("holdfast:app"),
  judge: () => [],
  giveUp: () => {},
});
