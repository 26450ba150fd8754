/** What crosses between the app and the helper that tells somebody of new entries. */
import * as z from "zod";

const Status = z.number().int().min(100).max(599);

/** The schemas of the helper's methods. The bounds are generous: the form's own are tighter. */
export const notifyContract = {
  entry: {
    input: z.strictObject({
      id: z.number().int().positive(),
      name: z.string().max(200),
      message: z.string().max(4000),
    }),
    output: z.discriminatedUnion("outcome", [
      z.strictObject({ outcome: z.literal("off") }),
      z.strictObject({ outcome: z.literal("sent"), status: Status }),
      z.strictObject({ outcome: z.literal("refused"), status: Status }),
    ]),
  },
};

/** What is told of an entry. */
export type Told = z.infer<typeof notifyContract.entry.input>;
/** What became of it. */
export type TellOutcome = z.infer<typeof notifyContract.entry.output>;
