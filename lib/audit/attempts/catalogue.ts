/** Every attempt, in the order of the report. */
import type { Attempt } from "../attempt.ts";
import { CHANNEL } from "./channel.ts";
import { EXECUTING } from "./executing.ts";
import { EXHAUSTION } from "./exhaustion.ts";
import { HELPERS } from "./helpers.ts";
import { NETWORKING } from "./networking.ts";
import { PERSISTENCE } from "./persistence.ts";
import { PROCESSES } from "./processes.ts";
import { READING } from "./reading.ts";
import { SECRETS } from "./secrets.ts";
import { WRITING } from "./writing.ts";

export const ATTEMPTS: readonly Attempt[] = [
  ...READING,
  ...WRITING,
  ...EXECUTING,
  ...NETWORKING,
  ...PROCESSES,
  ...SECRETS,
  ...PERSISTENCE,
  ...CHANNEL,
  ...HELPERS,
  ...EXHAUSTION,
];
