/**
 * Writes what is derived from the config schema: docs/holdfast.schema.json for editors and
 * docs/config.md, the manual; lib/config/types.ts, its types; and docs/cli.md from the table of commands.
 * With `--check` it writes nothing and exits 1 when one is stale.
 *
 * deno run -A tools/write_schema.ts [--check]
 */
import { compile } from "json-schema-to-typescript";
import { cliManual } from "../lib/cli/manual.ts";
import { configJsonSchema } from "../lib/config/json_schema.ts";
import { configManual } from "../lib/config/manual.ts";

/** What a config is, for programs that write one. */
async function configTypes(): Promise<string> {
  const schema = { ...configJsonSchema(), title: "HoldfastConfig" };
  const text = await compile(schema as Parameters<typeof compile>[0], "HoldfastConfig", {
    ...{ additionalProperties: false, ignoreMinAndMaxItems: true, format: false },
    bannerComment: TYPES_BANNER,
  });
  const formatting = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "ts", "-"],
    ...{ stdin: "piped", stdout: "piped", cwd: new URL("..", import.meta.url) },
  }).spawn();
  const writing = new Blob([text]).stream().pipeTo(formatting.stdin);
  const [{ stdout }] = await Promise.all([formatting.output(), writing]);
  return new TextDecoder().decode(stdout);
}

const TYPES_BANNER = `/**
 * The type of a config, for programs that write one. Holdfast reads \`holdfast.jsonc\` as data and runs no
 * code for it: editors get the same from the JSON Schema, by \`$schema\` in the file.
 *
 * \`\`\`ts
 * import type { HoldfastConfig } from "holdfast/config";
 *
 * const config = { app: "./main.ts", listen: ["127.0.0.1:8000"] } satisfies HoldfastConfig;
 * const text = JSON.stringify(config, null, 2); // goes into holdfast.jsonc
 * \`\`\`
 *
 * Written by \`deno task schema\` from the schema of the config.
 *
 * @module
 */`;

const DERIVED: Record<string, string> = {
  "../docs/holdfast.schema.json": JSON.stringify(configJsonSchema(), null, 2) + "\n",
  "../docs/config.md": configManual(),
  "../docs/cli.md": cliManual(),
  "../lib/config/types.ts": await configTypes(),
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
