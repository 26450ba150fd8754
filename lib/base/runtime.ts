/** The Deno that Holdfast needs. Runs on older ones too, to say so. */
import { HoldfastError } from "./error.ts";

/** The version that is tested. */
export const DENO_VERSION = "2.9.6";

/** @throws {HoldfastError} if this Deno is older than the one that is tested */
export function requireDeno(version: string = Deno.version.deno): void {
  if (!isOlder(version, DENO_VERSION)) return;
  throw new HoldfastError(`Holdfast needs Deno ${DENO_VERSION} or newer, and this is ${version}`, {
    kind: "environment",
    code: "deno_too_old",
    hint: `Use npx -y deno@${DENO_VERSION} instead of deno, or: deno upgrade ${DENO_VERSION}`,
  });
}

function isOlder(version: string, than: string): boolean {
  const numbers = (text: string) => text.replace(/[-+].*$/, "").split(".").map(Number);
  const [is, wanted] = [numbers(version), numbers(than)];
  const index = wanted.findIndex((number, index) => (is[index] ?? 0) !== number);
  return index >= 0 && (is[index] ?? 0) < wanted[index]!;
}

/** The error if Holdfast cannot be loaded; the reason is Deno's. */
export function loadFailed(error: unknown): unknown {
  if (error instanceof HoldfastError || error instanceof Deno.errors.NotCapable) return error;
  return new HoldfastError(`Cannot load Holdfast: ${(error as Error).message}`, {
    kind: "environment",
    code: "load_failed",
    hint: "Run it without deno's --config and --no-config, which replace its import map; the " +
      "first run needs the npm registry",
    cause: error,
  });
}
