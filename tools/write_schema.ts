/**
 * Writes what is derived from the config schema: docs/holdfast.schema.json for editors and
 * docs/config.md, the manual; and docs/cli.md from the table of commands. With `--check` it writes nothing and exits 1 when one is stale.
 *
 * deno run -A tools/write_schema.ts [--check]
 */
import { cliManual } from "../lib/cli/manual.ts";
import { configJsonSchema } from "../lib/config/json_schema.ts";
import { configManual } from "../lib/config/manual.ts";

const DERIVED: Record<string, string> = {
  "../docs/holdfast.schema.json": JSON.stringify(configJsonSchema(), null, 2) + "\n",
  "../docs/config.md": configManual(),
  "../docs/cli.md": cliManual(),
};

const check = Deno.args.includes("--check");
for (const [path, text] of Object.entries(DERIVED)) {
  const file = new URL(path, import.meta.url);
  if (!check) {
    await Deno.writeTextFile(file, text);
  } else if (await Deno.readTextFile(file).catch(() => undefined) !== text) {
    // deno-lint-ignore no-console
    console.error(`${file.pathname} is stale: run deno run -A tools/write_schema.ts`);
    Deno.exitCode = 1;
  }
}
