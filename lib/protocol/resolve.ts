/** What the supervisor asks the resolver, and what it is told: frames on the resolver's feed. */
import * as z from "zod/mini";

/** The longest answer, in bytes. */
export const MAX_RESOLVED_BYTES = 64 * 1024;

const Id = z.int().check(z.minimum(0));

/** What a name resolves to. */
export const Resolve = z.strictObject({ id: Id, name: z.string().check(z.maxLength(253)) });

/** Nothing in it where the name is not there. */
export const Resolved = z.strictObject({
  id: Id,
  addresses: z.array(z.string().check(z.maxLength(64))).check(z.maxLength(512)),
});
