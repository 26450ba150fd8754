/**
 * What a planner is asked, and what it answers. Both are data; the answer is checked before anything
 * is made of it. A plan names no path outside the folder that the planner was given, and a config grants
 * what its text says.
 */
import * as z from "zod/mini";

/** What it is asked: a file in the staging folder. Its program stays the same, so that it is compiled once. */
export const REQUEST_FILE = "request.json";

/** The file of the answer, in the staging folder. */
export const ANSWER_FILE = "answer.json";

/** Exit status of a planner that cannot write its answer: there is no room (ENOSPC). */
export const NO_ROOM = 28;

/** Whether there is no room, or no more for this user, or the disk may only be read. */
export function isFull(message: string): boolean {
  return /os error (28|122|30)\)/.test(message);
}

/** The longest answer that is read, in bytes: a config's text has a megabyte at the most. */
export const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

const Hex = z.string().check(z.regex(/^[0-9a-f]{64}$/));

/** A relative path that leads nowhere else; empty for the folder itself. */
const Inside = z.string().check(
  z.maxLength(4096),
  z.refine((path) => !path.startsWith("/") && !path.split("/").includes("..")),
);

/** What one process of the generation is started from. */
const PlannedProcess = z.strictObject({
  /** Names the packages by what is in them; empty where there are none. */
  packages: z.union([z.literal(""), Hex]),
  /** How packages are found: by the runtime's cache, or by folders called node_modules. */
  layout: z.enum(["cache", "node_modules"]),
  /** Where, in the packages' folder, the project lies. */
  project: Inside,
});
export type PlannedProcess = z.infer<typeof PlannedProcess>;

/** An image, and what it needs. */
export const Plan = z.strictObject({
  /** SHA-256 of what is in the image. */
  digest: Hex,
  /** In the order of the processes: the worker, then each helper. */
  processes: z.array(PlannedProcess).check(z.maxLength(1_000)),
});
export type Plan = z.infer<typeof Plan>;

const Text = z.string().check(z.maxLength(64 * 1024));
const Warned = z.enum([
  ...["path_open_to_others", "secret_unveiled", "certificate_ends", "policy_widened"] as const,
  "tsconfig_paths",
]);
const Count = z.int().check(z.minimum(1));

/** Why it was refused. */
export const Failure = z.strictObject({
  /** A config may have a problem in each of many lines. */
  message: z.string().check(z.maxLength(1024 * 1024)),
  hint: z.optional(Text),
  kind: z.enum([
    ...["refused", "failing", "usage", "not_running"] as const,
    ...["bug", "environment", "app", "config"] as const,
  ]),
  code: z.string().check(z.regex(/^[a-z_]{1,64}$/)),
});
export type Failure = z.infer<typeof Failure>;

/** A key of the config that has its old name, and where. */
const RenamedKey = z.strictObject({
  old: Text,
  new: Text,
  file: Text,
  at: z.strictObject({ line: Count, column: Count }),
});

/** What the paths of a config mean for the accounts of its processes. */
export const Judgement = z.strictObject({
  /** Processes that cannot have accounts of their own, each with the path that is closed to it. */
  held: z.array(z.strictObject({ process: Text, path: Text, hint: Text })).check(
    z.maxLength(1_000),
  ),
  /** What is unveiled, and closed to whom its process runs as. */
  closed: z.array(z.strictObject({ path: Text, hint: Text })),
});
export type Judgement = z.infer<typeof Judgement>;

export const Answer = z.union([
  z.strictObject({
    /** What the config means; it has a schema of its own. */
    config: z.unknown(),
    renamed: z.array(RenamedKey).check(z.maxLength(100)),
    plan: Plan,
    judgement: Judgement,
    /** What is logged of it. */
    warnings: z.array(z.strictObject({
      ...{ event: Warned, path: Text, hint: Text, added: z.optional(z.array(Text)) },
    })),
  }),
  /** Something is not in the cache, and what is in the settings of npm by the names of variables. */
  z.strictObject({ missing: Text, variables: z.array(z.string().check(z.maxLength(128))) }),
  z.strictObject({ error: Failure }),
]);
export type Answer = z.infer<typeof Answer>;
