/** What crosses between the app and the helper that sends mail: each side judges by it. */
import * as z from "zod";

export const mailContract = {
  send: {
    input: z.strictObject({
      from: z.email().max(200),
      text: z.string().trim().min(1).max(4000),
    }),
    output: z.strictObject({ sent: z.literal(true) }),
  },
};
