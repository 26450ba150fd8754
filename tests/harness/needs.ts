/** Tests that need what not every machine has: they are skipped by name, and the run says why. */
import { hasProgram, howToInstall, type ProgramName } from "../../tools/programs.ts";

/** The file in which a run collects why tests were skipped, one JSON text a line. */
export const SKIPS_VARIABLE = "HOLDFAST_TEST_SKIPS";

/** A test that was skipped. */
export interface Skip {
  readonly name: string;
  readonly why: string;
}

/** What a test needs. */
export interface Needs {
  readonly programs?: readonly ProgramName[];
  readonly root?: boolean;
  /** Anything else: what is missing, in words, or nothing if it is there. */
  readonly missing?: string | undefined;
  /** Whether it builds an executable: the first build of a run loads libraries. */
  readonly builds?: boolean;
}

/** What of it is missing here, in words; nothing if all is there. */
export function findMissing({ programs = [], root = false, missing }: Needs): string | undefined {
  const absent = programs.filter((program) => !hasProgram(program));
  if (absent.length > 0) {
    const how = [...new Set(absent.map(howToInstall))].join(", ");
    return `no ${absent.join(", no ")} (${how})`;
  }
  return root && Deno.uid() !== 0 ? "not root" : missing;
}

/** Defines a test that is skipped by name where something that it needs is missing. */
export function testWith(needs: Needs, name: string, fn: Deno.TestDefinition["fn"]): void {
  const why = findMissing(needs);
  if (why !== undefined) recordSkip({ name, why });
  const sanitize = !needs.builds;
  const sanitizers = { sanitizeOps: sanitize, sanitizeResources: sanitize };
  Deno.test({ name, ignore: why !== undefined, ...sanitizers, fn });
}

/** Why no mount namespace can be made here, or nothing if one can: only a try tells. */
export function whyNoNamespaces(): string | undefined {
  const user = Deno.uid() === 0 ? [] : ["--user", "--map-root-user"];
  const args = [...user, "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run"];
  try {
    const { success, stderr } = new Deno.Command("unshare", { args, stdout: "null" }).outputSync();
    return success ? undefined : new TextDecoder().decode(stderr).trim();
  } catch (error) {
    return (error as Error).message;
  }
}

/** Has the run say that a test, or a part of one, was skipped. */
export function recordSkip(skip: Skip): void {
  const file = Deno.env.get(SKIPS_VARIABLE);
  // Test files run side by side: one short write that appends is whole.
  if (file) Deno.writeTextFileSync(file, `${JSON.stringify(skip)}\n`, { append: true });
}
