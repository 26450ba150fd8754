import * as z from "zod";
import { configJsonSchema } from "./json_schema.ts";

type JsonSchema = z.core.JSONSchema.BaseSchema;

const LINE_WIDTH = 100;
const INTRO = `
# holdfast.jsonc

This page is written by \`tools/write_schema.ts\` from the schema in \`lib/config/schema.ts\`; change it
there. \`docs/holdfast.schema.json\` is the same for editors.

The config is JSON with comments and trailing commas. Relative paths start at the folder of the
config file, symbolic links to it followed. An unknown key is an error, and all errors of a file are
reported at once, each with its line and column.

\`\`\`jsonc
{
  "$schema": "./docs/holdfast.schema.json",
  "app": "./src/main.ts",
  "listen": ["127.0.0.1:8000"],
  // Data beside the code, never around it: what the app can write must not be what runs next.
  "unveil": { "./data": "rwc", "./public": "r" },
  "env": ["DATABASE_URL"],
  "net": ["db.internal:5432"]
}
\`\`\`
`.trim();

const LAYOUT = `
## Laying out folders for \`unveil\`

What the app can write must never be what the next reload runs, or what decides it. So \`w\` and \`c\`
are refused over the app's modules and project folder, its settings and lock file, node_modules,
DENO_DIR, the config, the deno program, Holdfast itself and the folders of its sockets; and every
right over the folders \`runtime\` and \`log.folder\`. Symbolic links are followed on both sides. Also
refused: anything below /proc, devices, and these pairs.

- A folder inside another with fewer rights, such as \`"./data": "rwc"\` and \`"./data/keys": "r"\`: the
  kernel cannot take rights away further down. Put the two side by side: \`./data/public\` and
  \`./data/keys\`. More rights inside are fine: \`"./site": "r"\` and \`"./site/uploads": "rwc"\`.
- A folder inside another that has \`c\`: the app could replace the inner one by a link to anywhere,
  and the next reload would follow it.

A path that does not exist is an error, unless it has \`c\` and its parent folder exists.
`.trim();

/** The manual of the config file, in Markdown as \`deno fmt\` writes it. */
export function configManual(): string {
  return [INTRO, ...listSections("", configJsonSchema()), LAYOUT].join("\n\n") + "\n";
}

function listSections(prefix: string, schema: JsonSchema): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, value]) => {
    const inner = value as JsonSchema;
    const key = `${prefix}${name}`;
    const need = schema.required?.includes(name) === true
      ? "required"
      : inner.default === undefined
      ? "optional"
      : `default \`${JSON.stringify(inner.default)}\``;
    const section = [
      `## \`${key}\``,
      wrap(`${capitalise(describeType(inner))}; ${need}.`),
      wrap(inner.description ?? ""),
    ].join("\n\n");
    const entry = (inner.items as JsonSchema | undefined)?.anyOf?.find((one) => one.properties);
    return [
      section,
      ...listSections(`${key}.`, inner),
      ...entry === undefined ? [] : listSections(`${key}[].`, entry),
      ...listSections(`${key}.NAME.`, entriesOf(inner) ?? {}),
    ];
  });
}

function describeType(schema: JsonSchema): string {
  if (schema.enum !== undefined) {
    return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(" or ");
  }
  if (schema.anyOf !== undefined) return schema.anyOf.map(describeType).join(" or ");
  switch (schema.type) {
    case "string":
      return schema.maxLength === undefined
        ? "text"
        : `text of at most ${schema.maxLength} characters`;
    case "boolean":
      return "`true` or `false`";
    case "integer":
      return `whole number from ${schema.minimum} to ${schema.maximum}`;
    case "array": {
      const entry = describeType(schema.items as JsonSchema);
      return `list of ${schema.minItems ?? 0} to ${schema.maxItems} entries, each ${entry}`;
    }
    default:
      if (schema.propertyNames === undefined) return "object";
      return entriesOf(schema)?.properties ? "object of names" : "object of paths and their rights";
  }
}

function entriesOf({ additionalProperties }: JsonSchema): JsonSchema | undefined {
  return typeof additionalProperties === "object" ? additionalProperties : undefined;
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function wrap(text: string): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line !== "" && line.length + 1 + word.length > LINE_WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.join("\n");
}
