/** A helper like any other, but that its module is the subject; `wide` as for a worker. */
import * as z from "zod/mini";
import { defineHelper } from "../helper/mod.ts";
import { runHelper } from "../helper/run.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { Order, Report } from "./attempt.ts";
import { takeSockets } from "./attempts/helpers.ts";
import { runAttempt } from "./subject.ts";

takeSockets();

const methods = defineHelper({
  /** Makes an attempt. */
  runAttempt: { input: Order, output: Report, handle: runAttempt },
  /** Says that it answers, after some milliseconds. */
  wait: {
    input: z.number(),
    output: z.literal("alive"),
    handle: async (ms) => {
      await new Promise((resolve) => setTimeout(resolve, ms));
      return "alive" as const;
    },
  },
});

await runHelper({
  version: PROTOCOL_VERSION,
  load: () => Promise.resolve({ default: methods }),
  ...Deno.args.includes("wide") && { judge: () => [], giveUp: () => {} },
});
