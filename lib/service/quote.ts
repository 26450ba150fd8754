/** How texts are written so that systemd, logrotate and a shell read them as they are. Pure. */

/** As a value of a unit: there `%` begins a specifier (systemd.unit(5)). */
export function specified(text: string): string {
  return text.replaceAll("%", "%%");
}

/**
 * As one word of a list in a unit, in tmpfiles.d or in sysusers.d.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(unitWord("/srv/app"), "/srv/app");
 * assertEquals(unitWord('/srv/my "50%" app'), '"/srv/my \\"50%%\\" app"');
 * ```
 */
export function unitWord(text: string): string {
  const written = specified(text).replace(/[\\"]/g, "\\$&");
  return /^[^\s"'\\;#]+$/.test(written) ? written : `"${written}"`;
}

/**
 * As a command line of a unit. In all words but the first `$` begins a variable.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(execLine(["/opt/$x/deno", "run", "/srv/$y z"]), '/opt/$x/deno run "/srv/$$y z"');
 * ```
 */
export function execLine([program = "", ...args]: readonly string[]): string {
  return [unitWord(program), ...args.map((each) => unitWord(each.replaceAll("$", "$$$$")))]
    .join(" ");
}

/** As one word of a shell's command line. */
export function shellWord(text: string): string {
  return /^[\w/.:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** As a shell's command line. */
export function shellLine(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}
