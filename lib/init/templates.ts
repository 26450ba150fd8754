/** What `holdfast init` writes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DENO_VERSION } from "../base/runtime.ts";
import { VERSION } from "../base/version.ts";
import type { Found } from "./inspect.ts";

/** The version of Hono that a new app begins with. */
const HONO = "4.13.19";

/** What Deno checks the types of a test against. */
const NODE_TYPES = "22.19.0";

/** What a config is written from. */
export interface Choice extends Pick<Found, "port" | "unveil" | "tmp" | "net" | "env" | "envFile"> {
  readonly app: string;
}

const SCHEMA = "./node_modules/holdfast/holdfast.schema.json";

/** The text of `holdfast.jsonc`. */
export function configText(choice: Choice, hasPackage: boolean): string {
  const { app, port, unveil, tmp, net, env, envFile } = choice;
  const text = (value: unknown) =>
    JSON.stringify(value).replace(/":/g, '": ').replace(/,"/g, ', "').replace(
      /^\{(.+)\}$/,
      "{ $1 }",
    );
  const lines = [
    ...hasPackage ? [`"$schema": ${text(SCHEMA)},`] : [],
    "// The module that exports the app, or starts its server.",
    `"app": ${text(`./${app}`)},`,
    `"listen": [${text(`127.0.0.1:${port}`)}],`,
    "// Files and folders, besides the app's own code: r reads, w writes, c creates and removes.",
    `"unveil": ${text(unveil)},`,
    ...tmp ? ["// A folder for temporary files, which is emptied at the end.", '"tmp": true,'] : [],
    ...envFile === undefined ? [] : [
      "// Read at every start and reload; the app sees the names that env lists.",
      `"envFile": ${text(`./${envFile}`)},`,
    ],
    ...env.length === 0
      ? []
      : ["// The variables that the app sees, and no others.", `"env": ${text(env)},`],
    '// Hosts that the app may connect to, such as "db.internal:5432".',
    `"net": ${text(net)}`,
  ];
  return `{\n${lines.map((line) => `  ${line}\n`).join("")}}\n`;
}

const IGNORED = "node_modules/\n.holdfast/\ndata/\n";

/** Files of the new app that are taken as they are, from the folder `new_app` beside this. */
export const NEW_APP_FILES = ["main.tsx", "notes.ts", "main.test.ts", "public/style.css"] as const;

/** Where they lie, in Holdfast's folder. */
export const NEW_APP_FOLDER = "lib/init/new_app";

/**
 * A new app: files by name.
 *
 * @param holdfast Holdfast's folder
 */
export function newApp(
  holdfast: string,
  name: string,
  hasPackage: boolean,
): Record<string, string> {
  const files = NEW_APP_FILES.map((file): [string, string] => [
    file,
    readFileSync(join(holdfast, NEW_APP_FOLDER, file), "utf8"),
  ]);
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  const settings: Record<string, string> = hasPackage
    ? {
      "package.json": json({
        name,
        private: true,
        type: "module",
        scripts: { start: "holdfast start", test: "deno test --allow-read --allow-write=data" },
        dependencies: { holdfast: `^${VERSION}`, hono: `^${HONO}` },
        devDependencies: { "@types/node": `^${NODE_TYPES}`, deno: DENO_VERSION },
      }),
    }
    : {
      "deno.json": json({
        tasks: { test: "deno test --allow-read --allow-write=data" },
        imports: { hono: `npm:hono@^${HONO}`, "hono/": `npm:/hono@^${HONO}/` },
      }),
    };
  return {
    ...settings,
    ...Object.fromEntries(files),
    ".gitignore": IGNORED,
    "holdfast.jsonc": configText({
      ...{ app: "main.tsx", port: 8000, tmp: false, net: [], env: [], envFile: undefined },
      unveil: { "./public/": "r", "./data/": "rwc" },
    }, hasPackage),
  };
}
