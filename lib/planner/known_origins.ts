/**
 * Where the modules of a graph come from. A file of the project is guarded by itself. Everything else, a
 * host, a package or a module that is its own address, is named by a text that is guarded: by the module
 * that imports it, or by the settings and the lock file. What is named by neither was named by a text
 * that nobody knows of, and is refused.
 */
import { join, normalize } from "node:path";
import { parse } from "jsonc-parser";
import { HoldfastError } from "../base/error.ts";
import { foldersAbove } from "../config/paths.ts";
import { quote } from "../config/problem.ts";
import { SETTINGS_FILES } from "../config/project_files.ts";
import { filesOf, type Graph, type GraphModule } from "./graph.ts";

/** What settings name. */
export interface Named {
  /** Addresses as a whole. */
  readonly addresses: ReadonlySet<string>;
  /** Schemes with hosts. */
  readonly origins: ReadonlySet<string>;
  /** Packages, without a registry or a version. */
  readonly packages: ReadonlySet<string>;
}

/**
 * Reads what the settings of a graph name.
 *
 * @param settings further files than those beside and above the modules; each of them is guarded
 */
export function readNamed(graph: Graph, settings: readonly string[]): Named {
  const folders = new Set(
    filesOf(graph).filter((path) => !path.includes("/node_modules/")).flatMap(foldersAbove),
  );
  const paths = [...folders].flatMap((folder) => SETTINGS_FILES.map((name) => join(folder, name)));
  return namedBy([...new Set([...paths, ...settings])].map(readSettings));
}

/** What values of settings name, wherever in them: as a key or as a text. */
export function namedBy(values: readonly unknown[]): Named {
  const addresses = new Set<string>();
  const origins = new Set<string>();
  const packages = new Set<string>();
  const take = (text: string) => {
    const url = URL.parse(text);
    if (url !== null) addresses.add(url.href);
    if (url !== null && /^https?:$/.test(url.protocol)) origins.add(url.origin);
    const [name] = packageName(text) ?? [];
    if (name !== undefined) packages.add(name);
  };
  const look = (value: unknown) => {
    if (typeof value === "string") take(value);
    else if (typeof value === "object" && value !== null) {
      for (const [key, inner] of Object.entries(value)) {
        take(key);
        look(inner);
      }
    }
  };
  for (const value of values) look(value);
  return { addresses, origins, packages };
}

/**
 * Sees to it that every import of a graph leads to what a guarded text names.
 *
 * @throws {HoldfastError} with the file and the line of the first one that does not
 */
export function requireKnownOrigins({ modules }: Graph, named: Named): void {
  for (const module of modules) {
    for (const { specifier: spelled, code } of module.dependencies) {
      const to = code?.specifier;
      if (to === undefined || isNamed(spelled, to, module, named)) continue;
      const { line, character } = code?.span?.start ?? { line: 0, character: 0 };
      const place = module.local ?? module.specifier.slice(0, 200);
      throw new HoldfastError(
        `${place}:${line + 1}:${character + 1} imports ${quote(spelled)}, which leads to ` +
          `${quote(to)}: neither that file nor any settings or lock file of the project names it`,
        {
          kind: "config",
          code: "module_unnamed",
          hint:
            "Name it in the project's deno.json, or find the file that does: whoever may write " +
            "that file chooses what runs",
        },
      );
    }
  }
}

function isNamed(spelled: string, to: string, importer: GraphModule, named: Named): boolean {
  const { protocol, origin, href } = new URL(to);
  // Guarded by themselves, or part of the runtime.
  if (protocol === "file:" || protocol === "node:") return true;
  if (URL.parse(spelled, importer.specifier)?.href === href || URL.parse(spelled)?.href === href) {
    return true;
  }
  if (protocol === "npm:" || protocol === "jsr:") {
    const [name] = packageName(to) ?? [];
    return name !== undefined &&
      (packageName(spelled, true)?.[0] === name || named.packages.has(name));
  }
  return named.addresses.has(href) ||
    /^https?:$/.test(protocol) && named.origins.has(origin);
}

/**
 * The name of a package in `npm:/NAME@VERSION/path`, `jsr:NAME` or `NAME@VERSION`.
 *
 * @param addressed whether only the first two count
 */
function packageName(text: string, addressed = false): [string] | undefined {
  const found = /^((?:npm|jsr):\/?)?((?:@[\w.~-]+\/)?[\w.~-]+)(?:[@/_]|$)/i.exec(text);
  if (found === null || addressed && found[1] === undefined) return undefined;
  return [found[2]!];
}

/** The value of a settings file; nothing where it is not there, or no JSON. */
function readSettings(path: string): unknown {
  try {
    return parse(Deno.readTextFileSync(path));
  } catch {
    return undefined;
  }
}

/** Variables with the path of a file that decides from where packages come, or whom to believe. */
const FILE_VARIABLES = [
  ...["NPM_CONFIG_USERCONFIG", "NPM_CONFIG_GLOBALCONFIG", "NPM_CONFIG_CAFILE", "DENO_CERT"],
  ...["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"],
];

/** Files and folders that this process's environment names, and the user's settings of npm. */
export function filesOfEnvironment(
  environment: (name: string) => string | undefined = (name) => Deno.env.get(name),
): string[] {
  const home = environment("HOME");
  const named = FILE_VARIABLES.flatMap((name) =>
    environment(name) ?? environment(name.toLowerCase()) ?? []
  );
  return [...home ? [join(home, ".npmrc")] : [], ...named].filter((path) => path.startsWith("/"))
    .map((path) => normalize(path));
}
