/**
 * A worker like any other, but that its app is the subject. With the argument `wide` it takes every
 * permission without complaint: for the modes that stand for a broken Deno.
 */
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { runWorker } from "../worker/run.ts";
import { app } from "./subject.ts";

await runWorker({
  version: PROTOCOL_VERSION,
  load: () => Promise.resolve({ default: app }),
  ...Deno.args.includes("wide") && { judge: () => [], giveUp: () => {} },
});
