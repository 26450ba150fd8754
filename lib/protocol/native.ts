/** The facts that are built into a compiled executable, which it also gives to its supervisor. */
import * as z from "zod/mini";

const Names = z.array(z.string());

/** Deno's permissions by what they name; nothing is granted as a whole but `ffi`. */
export const Permissions = z.strictObject({
  read: Names,
  write: Names,
  net: Names,
  env: Names,
  run: Names,
  sys: Names,
  ffi: z.boolean(),
});
export type Permissions = z.infer<typeof Permissions>;

/** The kinds that are lists of names. */
export const LISTED_KINDS = ["read", "write", "net", "env", "run", "sys"] as const;

/** The version of {@link NativeFacts}. */
export const NATIVE_FORMAT = 2;

/** The argument by which an executable prints its facts. */
export const DESCRIBE = "--describe";

/** The variable by which a supervisor gives a child its role. */
export const ROLE_VARIABLE = "HOLDFAST_ROLE";

/** Variables that would change what the runtime runs. */
export const STEERING_VARIABLES = [
  "NODE_OPTIONS",
  "DENO_V8_FLAGS",
  "DENO_INTERNAL_CHILD_ENTRYPOINT",
];

export const NativeFacts = z.strictObject({
  format: z.literal(NATIVE_FORMAT),
  name: z.string(),
  versions: z.strictObject({ app: z.nullable(z.string()), holdfast: z.string(), deno: z.string() }),
  protocol: z.int(),
  /** The path that the executable must have; it runs nothing else. */
  executable: z.string(),
  /** The folder of all that is written. */
  state: z.string(),
  /** The text of the config. */
  config: z.string(),
  /** What each process keeps, by `supervisor`, `planner`, `worker`, `logger`, `helper NAME`. */
  roles: z.record(z.string(), Permissions),
  /** From where a role finds its packages, if they are in folders called node_modules: in the program. */
  packages: z.record(z.string(), z.string()),
  /** How a process is started; `null` if the executable is started itself. */
  interpreter: z.nullable(z.strictObject({
    program: z.string(),
    args: Names,
    denoDir: z.string(),
    /** Where the folder of the config would be. */
    folder: z.string(),
    /** The folder of the program. */
    files: z.string(),
  })),
});
export type NativeFacts = z.infer<typeof NativeFacts>;
