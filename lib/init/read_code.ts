/** What the code of a project names: its files and folders, the hosts that it asks, its variables. */
import { dirname, join, relative, resolve } from "node:path";
import { isSkipped, kindOf, MODULE, type Source } from "./project_text.ts";

type Rights = "r" | "rwc";

/** Texts in quotes that nothing is put into. */
const TEXT = `["'\`]([^"'\`$\\n]+)["'\`]`;
const HERE = String.raw`(?:__dirname|import\.meta\.dir(?:name)?)`;
const WORKING = String.raw`(?:process\.cwd\(\)|Deno\.cwd\(\))`;

/** Paths beside a module, and in the working folder. */
const BESIDE = [
  new RegExp(String.raw`${HERE}((?:\s*[,+]\s*${TEXT})+)`, "g"),
  new RegExp(String.raw`(\$\{${HERE}\}[^\`$\n]+)`, "g"),
  new RegExp(String.raw`new URL\(\s*(${TEXT})\s*,\s*import\.meta\.url`, "g"),
];
const IN_WORKING = [new RegExp(String.raw`${WORKING}((?:\s*[,+]\s*${TEXT})+)`, "g")];

/** Calls and options with a path in the working folder, which they read, or write. */
const READING = "static|serveStatic|serve|sendFile|readFile(?:Sync)?|readTextFile(?:Sync)?|" +
  "readdir(?:Sync)?|readDir(?:Sync)?|createReadStream|views?|templates?|root|Bun\\.file";
const WRITING = "writeFile(?:Sync)?|writeTextFile(?:Sync)?|appendFile(?:Sync)?|mkdir(?:Sync)?|" +
  "createWriteStream|dest|destination|uploadDir|DatabaseSync|Database|JSONFile(?:Sync)?|storage|" +
  "filename|openKv|DB";
const callOf = (names: string) =>
  new RegExp(
    String.raw`\b(?:${names})["']?\s*[(:=]\s*(?:\{\s*(?:root|path|dir)\s*:\s*)?(${TEXT})`,
    "g",
  );
const READ = callOf(READING);
const WRITTEN = callOf(WRITING);

const PACKAGE = "package.json";

/** What the code of a project reads and writes, of what is there or may be made. */
export function pathsIn(
  folder: string,
  sources: readonly Source[],
  app: string | undefined,
): { unveil: Record<string, Rights>; misplaced: string[] } {
  const unveil = new Map<string, Rights>();
  const misplaced = new Set<string>();
  const isInside = (path: string) =>
    path !== "" && !path.startsWith("..") && !/(^|\/)[.@]/.test(path) && !isSkipped(path);
  const hasCode = (path: string) => sources.some((each) => each.path.startsWith(`${path}/`));
  const read = (place: string) => {
    const path = relative(folder, place);
    const kind = kindOf(place);
    if (!isInside(path) || kind === undefined) return;
    if (kind === "folder" ? app?.startsWith(`${path}/`) : isCode(path)) return;
    // The runtime asks how modules are written that it loads from a folder.
    const needed = kind === "folder" && hasCode(path) && kindOf(join(folder, PACKAGE)) === "file";
    if (needed) unveil.set(`./${PACKAGE}`, "r");
    const spelled = kind === "folder" ? `./${path}/` : `./${path}`;
    if (!unveil.has(spelled)) unveil.set(spelled, "r");
  };
  const write = (place: string, text: string) => {
    const isFolder = kindOf(place) === "folder" || text.endsWith("/") || !/\.\w+$/.test(text);
    const path = relative(folder, isFolder ? place : dirname(place));
    if (path === "" || isInside(path) && hasCode(path)) misplaced.add(relative(folder, place));
    else if (isInside(path)) unveil.set(`./${path}/`, "rwc");
  };
  for (const { path, text } of sources) {
    const own = dirname(join(folder, path));
    for (const pattern of BESIDE) for (const place of placesIn(text, pattern, own)) read(place);
    for (const pattern of IN_WORKING) {
      for (const place of placesIn(text, pattern, folder)) read(place);
    }
    for (const [, , found] of text.matchAll(READ)) read(resolve(folder, `./${found}`));
    for (const [, , found] of text.matchAll(WRITTEN)) {
      const plain = found!.replace(/^(file|sqlite):/, "");
      if (/^[\w./-]*[\w/]$/.test(plain) && /[./]/.test(plain)) write(resolve(folder, plain), plain);
    }
  }
  return { unveil: Object.fromEntries(unveil), misplaced: [...misplaced] };
}

/** Without what lies below others that have as many rights. */
export function withoutInner(
  unveil: Readonly<Record<string, Rights>>,
): Record<string, Rights> {
  const all = Object.entries(unveil);
  return Object.fromEntries(
    all.filter(([path, rights]) =>
      !all.some(([above, given]) =>
        above !== path && above.endsWith("/") && path.startsWith(above) &&
        (given === rights || given === "rwc")
      )
    ),
  );
}

function isCode(path: string): boolean {
  return MODULE.test(path) || /(^|\/)(package|deno|tsconfig|holdfast)[\w.-]*\.jsonc?$/.test(path);
}

/** The places that a pattern finds: its parts are put together. */
function placesIn(text: string, pattern: RegExp, base: string): string[] {
  return [...text.matchAll(pattern)].map(([, found]) => {
    const parts = found!.startsWith("${")
      ? [found!.replace(/^\$\{[^}]*\}/, "")]
      : [...found!.matchAll(new RegExp(TEXT, "g"))].map(([, part]) => part!);
    return resolve(base, ...parts.map((part) => `./${part}`));
  });
}

/** What puts files into the folder for temporary ones, by itself or as a package. */
const TEMPORARY =
  /\btmpdir\(|\bmkdtemp|\bmakeTemp(Dir|File)|["'](formidable|koa-body|tmp|tmp-promise|express-fileupload)["']/;

/** Whether code needs such a folder. */
export function needsTemporary(texts: readonly string[]): boolean {
  return texts.some((text) => TEMPORARY.test(text));
}

/** Calls and options that a URL is given to, to be asked. */
const ASKING = String.raw`(?:fetch|axios(?:\.\w+)?|got(?:\.\w+)?|ky(?:\.\w+)?|base_?url)`;
const ASKED = new RegExp(String.raw`\b${ASKING}\s*[(:=]\s*["'\`]https?://([\w.:-]+)`, "gi");
const SECURE = new RegExp(String.raw`\b${ASKING}\s*[(:=]\s*["'\`]https://`, "i");
const NAMED = /\b(?:const|let|var)\s+(\w+)[^=\n]*=\s*["'`](https?):\/\/([\w.:-]+)/g;

/** Databases by their URLs, and the ports that these mean. */
const DATABASE =
  /\b(postgres(?:ql)?|mysql|mongodb|rediss?|amqps?):\/\/(?:[^@"'`\s/]*@)?([\w.-]+)(?::(\d+))?/g;
const PORTS: Readonly<Record<string, number>> = {
  ...{ postgres: 5432, postgresql: 5432, mysql: 3306, mongodb: 27017 },
  ...{ redis: 6379, rediss: 6379, amqp: 5672, amqps: 5671 },
};

/** The hosts that texts name where they are asked, with their ports. */
export function hostsIn(texts: readonly string[]): string[] {
  const found = new Set<string>();
  for (const text of texts) {
    for (const [call, host] of text.matchAll(ASKED)) {
      // Without a dot it is a name for a test, or for nobody.
      if (/\.|^localhost\b/.test(host!)) found.add(withPort(host!, SECURE.test(call)));
    }
    for (const [, name, scheme, host] of text.matchAll(NAMED)) {
      const isAsked = new RegExp(String.raw`\b${ASKING}\(\s*\`?(?:\$\{)?${name}\b`, "i").test(text);
      if (isAsked) found.add(withPort(host!, scheme === "https"));
    }
    for (const [, scheme, host, port] of text.matchAll(DATABASE)) {
      found.add(`${host}:${port ?? PORTS[scheme!]}`);
    }
  }
  return [...found].filter((host) => !/\bexample\.(com|org)\b|^0\.0\.0\.0:/.test(host)).sort();
}

function withPort(host: string, secure: boolean): string {
  return /:\d+$/.test(host) ? host : `${host.replace(/[.:]+$/, "")}:${secure ? 443 : 80}`;
}

/** How code names variables of the environment. */
const ENVIRONMENT = String.raw`(?:process|Bun|import\.meta)\.env`;
const VARIABLES = [
  new RegExp(String.raw`\b${ENVIRONMENT}\.([A-Za-z_]\w*)`, "g"),
  new RegExp(String.raw`\b${ENVIRONMENT}\[["']([A-Za-z_]\w*)["']\]`, "g"),
  /\bDeno\.env\.get\(["']([A-Za-z_]\w*)["']\)/g,
];
const TAKEN_OUT = new RegExp(String.raw`\{([^{}]*)\}\s*=\s*${ENVIRONMENT}\b`, "g");
/** The whole environment, which a schema with the names is for. */
const WHOLE = new RegExp(String.raw`\b${ENVIRONMENT}\b(?!\s*[.[\w])|\bDeno\.env\.toObject\(`);
const IN_SCHEMA = /^\s*([A-Z][A-Z0-9_]+)\s*:/gm;
const IN_FILE = /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=/gm;

/** Given by the config or by Holdfast itself. */
const OWN = [
  "PORT",
  "HOST",
  "HOSTNAME",
  "NODE_ENV",
  "TMPDIR",
  "PATH",
  "HOME",
  "DEV",
  "PROD",
  "MODE",
];

/** The variables that code asks for, and that files of them have. */
export function variablesIn(sources: readonly string[], files: readonly string[]): string[] {
  const names = (text: string, patterns: readonly RegExp[]) =>
    patterns.flatMap((pattern) => [...text.matchAll(pattern)].map(([, name]) => name!));
  const found = [
    ...sources.flatMap((text) => names(text, VARIABLES)),
    ...sources.flatMap((text) =>
      names(text, [TAKEN_OUT]).flatMap((all) =>
        all.split(",").map((each) => each.split(/[:=]/)[0]!.trim())
      )
    ),
    ...sources.filter((text) => WHOLE.test(text)).flatMap((text) => names(text, [IN_SCHEMA])),
    ...files.flatMap((text) => names(text, [IN_FILE])),
  ];
  return [...new Set(found)].filter((name) =>
    /^[A-Za-z_]\w*$/.test(name) && !OWN.includes(name) && !/^(npm|VITE)_/.test(name)
  ).sort();
}

/** The port that code falls back to, or listens on. */
export function portIn(text: string): number | undefined {
  const found = /\bport\s*[:=]\s*(\d{2,5})\b/i.exec(text) ??
    /\bPORT["')\]!]*\s*(?:\|\||\?\?|:)[^\n]{0,40}?["'(]?\b(\d{4,5})\b/.exec(text) ??
    /\.listen\(\s*(\d{2,5})\b/.exec(text);
  const port = Number(found?.[1]);
  return port >= 1024 && port <= 65_535 ? port : undefined;
}
