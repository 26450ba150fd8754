/** What the command tells the supervisor that it starts, in the first line of its standard input. */
import * as z from "zod/mini";

/** The settings of a supervisor in development. */
export const DevelopmentSettings = z.strictObject({
  port: z.int().check(z.minimum(1), z.maximum(65_535)),
  wall: z.optional(z.enum(["kernel", "deno"])),
  inspected: z.boolean(),
  /** What its workers are told. */
  page: z.strictObject({ script: z.string(), events: z.string() }),
  /** The file of the program that they run. */
  program: z.string(),
});
export type DevelopmentSettings = z.infer<typeof DevelopmentSettings>;
