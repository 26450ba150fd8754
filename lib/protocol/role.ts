/** The role of a process. */
import * as z from "zod/mini";

const Index = z.int().check(z.minimum(0));

export const Role = z.discriminatedUnion("kind", [
  /** Without an index if it is the only one. */
  z.strictObject({ kind: z.literal("worker"), index: z.optional(Index) }),
  z.strictObject({ kind: z.literal("helper"), name: z.string(), index: Index }),
  z.strictObject({ kind: z.literal("logger") }),
  z.strictObject({ kind: z.literal("metrics") }),
  z.strictObject({ kind: z.literal("resolver") }),
  z.strictObject({ kind: z.literal("acme") }),
  z.strictObject({ kind: z.literal("planner") }),
]);
export type Role = z.infer<typeof Role>;

/**
 * The role as logs and `status` show it: `worker`, `worker.INDEX`, `helper NAME.INDEX`, `logger`, `metrics`,
 * `resolver`, `acme`, `planner`.
 */
export function roleText(role: Role): string {
  switch (role.kind) {
    case "worker":
      return role.index === undefined ? "worker" : `worker.${role.index}`;
    case "helper":
      return `helper ${role.name}.${role.index}`;
    default:
      return role.kind;
  }
}
