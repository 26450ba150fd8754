/** Reading what is not the app's. */
import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import { createRequire, registerHooks } from "node:module";
import { dirname, relative } from "node:path";
import process from "node:process";
import { backup, DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import * as vm from "node:vm";
import * as threads from "node:worker_threads";
import type { Attempt, World } from "../attempt.ts";
import { AT_FDCWD, must, reaches, readNatively, Refused } from "../native.ts";
import { answerOf, inWebWorker } from "./web_worker.ts";

type More = Partial<Omit<Attempt, "id" | "area" | "title" | "run">>;

/** An attempt on a secret, which both layers are to stop unless said otherwise. */
function secret(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return { id, area: "read", title, deno: "stops", kernel: "stops", proof: "secret", ...more, run };
}

/** The same on something that holds no secret of the auditor's. */
function claim(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return secret(id, title, run, { proof: "claim", ...more });
}

/** Landlock rules what is in files and folders, not what is known about them. */
const METADATA: More = {
  kernel: "open",
  note:
    "Landlock does not rule metadata: that a file exists, its size, its times, where a link leads",
};

/** Deno follows links, and the app cannot make any. */
const LINKED_METADATA: More = {
  ...METADATA,
  deno: "contained",
  note: "metadata of the target of a link that the operator made, and no content",
};

/** The wall cannot tell the engine from the app's code. */
const ENGINE: More = { kernel: "open", note: "the engine reads it for its own use" };

/** The content of one path by every interface; past holes were in one of them at a time. */
function byEveryWay(
  id: string,
  title: string,
  pathOf: (world: World) => string,
  more: More = {},
): Attempt[] {
  const variant = (name: string, by: string, read: (path: string) => unknown) =>
    secret(`${id}.${name}`, `${by} of ${title}`, (world) => read(pathOf(world)), more);
  return [
    variant("deno", "Deno.readTextFile", (path) => Deno.readTextFile(path)),
    variant("node", "fs.readFileSync", (path) => fs.readFileSync(path, "utf8")),
    variant("callback", "fs.readFile", (path) => readByCallback(path)),
    variant("promise", "fs.promises.readFile", (path) => fs.promises.readFile(path, "utf8")),
    variant("stream", "fs.createReadStream", (path) => readByStream(path)),
    variant("web_worker", "a read in a Web Worker", (path) => {
      return inWebWorker((path) => Deno.readTextFile(path), path);
    }),
    variant("native", "open(2)", readNatively),
  ];
}

function readByCallback(path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  fs.readFile(path, "utf8", (error, text) => error ? reject(error) : resolve(text));
  return promise;
}

async function readByStream(path: string): Promise<string> {
  let text = "";
  for await (const chunk of fs.createReadStream(path)) text += chunk;
  return text;
}

const urlOf = (path: string) => pathToFileURL(path).href;
const dataModule = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;

/** A function, so that no bundler sees what is imported. */
const load = (specifier: string, type?: string): Promise<{ default: unknown }> =>
  import(specifier, type === undefined ? {} : { with: { type } });

/** Writes a module of the app's own, and loads it. */
function loadFrom({ inside, nonce }: World, source: string) {
  const path = `${inside}/${nonce}.mjs`;
  fs.writeFileSync(path, source);
  return load(urlOf(path));
}

const requireFrom = ({ inside }: World) => createRequire(`${inside}/app.cjs`);

/** All of a table of a database. */
function query(path: string | URL | Buffer, options: { readOnly?: boolean } = {}): unknown {
  using database = new DatabaseSync(path, options);
  return database.prepare("SELECT * FROM secrets").all();
}

/** SQLite says no more about a file that it may not open. */
const SQLITE_REFUSAL: More = {
  refusal: /^unable to open database|^too many attached databases - max 0/,
};

/** How an entry of the process file system is opened, and never read: the kernel rules the opening. */
function opens(path: string): string {
  using file = Deno.openSync(path);
  return `opened ${path}${file.isTerminal() ? ", a terminal" : ""}`;
}

const processFiles = (
  name: string,
  whose: string,
  folderOf: (world: World) => string,
): Attempt[] =>
  ["environ", "cmdline", "maps", "mem", "auxv", "stat"].map((file) =>
    claim(
      `FR8.${name}_${file}`,
      `opening ${file} of ${whose}`,
      (world) => opens(`${folderOf(world)}/${file}`),
      // Yama keeps the memory of others from ordinary users.
      { note: "CVE-2024-34346", ...file === "mem" && name !== "self" && { needs: "root" } },
    )
  );

const DENO_ALONE: More = {
  kernel: "open",
  note: "what is given up after open() is Deno's layer alone: the kernel's is made at the spawn",
};

/** What was given up when the app had opened, and what is another process's of the same kind. */
const GIVEN_UP: readonly Attempt[] = [
  ...byEveryWay("FD1", "a path of dropAfterOpen", ({ dropped }) => {
    return `${dropped}/secret.txt`;
  }, DENO_ALONE),
  secret("FD1.request", "asking for a path of dropAfterOpen again", async ({ dropped }) => {
    await Deno.permissions.request({ name: "read", path: dropped });
    return Deno.readTextFileSync(`${dropped}/secret.txt`);
  }, DENO_ALONE),
  claim("FD1.list", "Deno.readDir of a path of dropAfterOpen", ({ dropped }) => {
    return [...Deno.readDirSync(dropped)].map(({ name }) => name);
  }, DENO_ALONE),
  ...byEveryWay("TM1", "a file in another process's temporary folder", ({ otherTemporary }) => {
    return `${otherTemporary}/secret.txt`;
  }),
  claim("TM1.list", "Deno.readDir of what holds the temporary folders", ({ otherTemporary }) => {
    return [...Deno.readDirSync(dirname(otherTemporary))].map(({ name }) => name);
  }),
  secret(
    "TM2.link",
    "reading through a link out of its own temporary folder, made there",
    ({ temporary, outside, nonce }) => {
      const link = `${temporary}/${nonce}`;
      fs.symlinkSync(`${outside}/secret.txt`, link);
      try {
        return fs.readFileSync(link, "utf8");
      } finally {
        fs.rmSync(link);
      }
    },
  ),
  secret(
    "TM2.native",
    "the same by symlinkat(2) and open(2)",
    ({ temporary, outside, nonce }) => {
      const link = `${temporary}/${nonce}`;
      must("symlinkat", `${outside}/secret.txt`, AT_FDCWD, link);
      try {
        return readNatively(link);
      } finally {
        must("unlinkat", AT_FDCWD, link, 0);
      }
    },
  ),
  secret(
    "TM2.hard_link",
    "reading what it has linked into its own temporary folder",
    ({ temporary, outside, nonce }) => {
      const link = `${temporary}/${nonce}`;
      fs.linkSync(`${outside}/secret.txt`, link);
      try {
        return fs.readFileSync(link, "utf8");
      } finally {
        fs.rmSync(link);
      }
    },
    { refusal: /cross-device link/ },
  ),
];

/** The private key of HTTPS, which a worker is given by its supervisor and reads no file for. */
const KEYS: readonly Attempt[] = [
  ...([
    ["deno", "Deno.open", (path: string) => Deno.openSync(path).close()],
    ["node", "fs.openSync", (path: string) => fs.closeSync(fs.openSync(path, "r"))],
    ["native", "open(2)", (path: string) => must("close", must("openat", AT_FDCWD, path, 0, 0))],
  ] as const).map(([name, by, open]) =>
    claim(`FK1.${name}`, `${by} of the private key of HTTPS`, ({ keyFile }) => {
      open(keyFile);
      return "opened";
    }, { withTls: true })
  ),
];

export const READING: readonly Attempt[] = [
  ...byEveryWay(
    "FR1",
    "a file beside the unveiled folder",
    ({ outside }) => `${outside}/secret.txt`,
  ),
  ...([
    ["dots", "..", (world) => `${world.inside}/../outside/secret.txt`],
    ["slashes", "// and /./", (world) => `//${world.folder}/.//outside/././secret.txt`],
    ["relative", "a relative path", (world) => relative(Deno.cwd(), `${world.outside}/secret.txt`)],
  ] satisfies [string, string, (world: World) => string][]).flatMap(([name, by, pathOf]) => [
    secret(`FR1.${name}`, `reading outside by ${by}`, (world) => Deno.readTextFile(pathOf(world))),
    secret(`FR1.${name}_node`, `fs.readFileSync outside by ${by}`, (world) => {
      return fs.readFileSync(pathOf(world), "utf8");
    }),
  ]),
  secret("FR1.url", "reading outside by a file URL", ({ outside }) => {
    return Deno.readTextFile(pathToFileURL(`${outside}/secret.txt`));
  }),
  secret("FR1.encoded_url", "reading outside by a URL with encoded slashes", (world) => {
    return Deno.readTextFile(new URL(`${urlOf(world.inside)}/%2e%2e%2foutside%2fsecret.txt`));
  }),
  secret("FR1.bytes", "fs.readFileSync outside by a path of bytes", ({ outside }) => {
    return fs.readFileSync(Buffer.from(`${outside}/secret.txt`), "utf8");
  }),
  secret("FR1.fetch", "fetch of a file URL outside", async ({ outside }) => {
    return await (await fetch(pathToFileURL(`${outside}/secret.txt`))).text();
  }),
  secret("FR1.handle", "fs.promises.open outside, line by line", async ({ outside }) => {
    await using file = await fs.promises.open(`${outside}/secret.txt`);
    return await file.readFile("utf8");
  }),
  secret("FR1.blob", "fs.openAsBlob of a file outside", async ({ outside }) => {
    return await (await fs.openAsBlob(`${outside}/secret.txt`)).text();
  }),
  secret("FR1.folder_change", "Deno.chdir to the outside, then a bare name", ({ outside }) => {
    Deno.chdir(outside);
    return Deno.readTextFile("secret.txt");
  }, { alone: true }),
  claim("FR1.list", "Deno.readDir of a folder outside", ({ outside }) => {
    return Array.from(Deno.readDirSync(outside), ({ name }) => name).join();
  }),
  claim("FR1.list_node", "fs.readdir outside, with all below", ({ outside }) => {
    return fs.readdirSync(outside, { recursive: true }).join();
  }),
  claim("FR1.list_native", "getdents64(2) of a folder outside", ({ outside }) => {
    const fd = must("openat", AT_FDCWD, outside, 0, 0);
    const length = must("getdents64", fd, new Uint8Array(4096), 4096);
    must("close", fd);
    return length;
  }),

  secret("FR2.twin", "a file in a folder whose name begins like an unveiled one", ({ twin }) => {
    return Deno.readTextFile(`${twin}/secret.txt`);
  }),
  secret("FR2.twin_node", "the same by fs.readFileSync", ({ twin }) => {
    return fs.readFileSync(`${twin}/secret.txt`, "utf8");
  }),

  ...([
    ["absolute", "a link that points outside", "link"],
    ["relative", "a relative link that points outside", "relative_link"],
    ["folder", "a link to a folder outside", "folder_link/secret.txt"],
  ] as const).flatMap(([name, title, path]) => {
    const more: More = {
      deno: "open",
      note: "Deno checks where the link lies, not where it leads; CVE-2021-41641",
    };
    return name === "absolute"
      ? [
        secret(
          "FR3.absolute",
          "read through a link in the unveiled folder that points outside",
          ({ inside }) => Deno.readTextFile(`${inside}/${path}`),
          more,
        ),
        secret("FR3.node", `fs.readFileSync through ${title}`, ({ inside }) => {
          return fs.readFileSync(`${inside}/${path}`, "utf8");
        }, more),
        secret("FR3.native", `open(2) through ${title}`, ({ inside }) => {
          return readNatively(`${inside}/${path}`);
        }),
      ]
      : [
        secret(`FR3.${name}`, `reading through ${title}`, ({ inside }) => {
          return Deno.readTextFile(`${inside}/${path}`);
        }, more),
      ];
  }),
  secret("FR3.copy", "copying through a link, and reading the copy", ({ inside, nonce }) => {
    Deno.copyFileSync(`${inside}/link`, `${inside}/${nonce}`);
    return Deno.readTextFile(`${inside}/${nonce}`);
  }, { deno: "open", note: "Deno follows links" }),
  secret("FR3.cp", "fs.cp with links resolved, and reading the copy", ({ inside, nonce }) => {
    fs.cpSync(`${inside}/link`, `${inside}/${nonce}`, { dereference: true });
    return Deno.readTextFile(`${inside}/${nonce}`);
  }, { deno: "open", note: "Deno follows links" }),
  secret("FR3.import", "importing through a link to a folder outside", async ({ inside }) => {
    return (await load(urlOf(`${inside}/folder_link/secret.mjs`))).default;
  }, { deno: "open", note: "Deno follows links" }),
  secret("FR3.require", "require through a link to a folder outside", (world) => {
    return requireFrom(world)("./folder_link/secret.json");
  }),
  secret("FR3.database", "a database through a link to its folder", ({ inside }) => {
    return query(`${inside}/folder_link/secret.db`, { readOnly: true });
  }, { deno: "open", note: "Deno follows links", ...SQLITE_REFUSAL }),
  claim("FR3.process", "a link to the process's own environment", ({ inside }) => {
    return Deno.readTextFileSync(`${inside}/proc_link`);
  }),
  claim("FR3.process_node", "the same by fs.readFileSync", ({ inside }) => {
    return fs.readFileSync(`${inside}/proc_link`, "utf8");
  }),

  ...([
    ["deno", "Deno.symlink", (from, to) => Deno.symlinkSync(from, to)],
    ["node", "fs.symlinkSync", (from, to) => fs.symlinkSync(from, to)],
    ["native", "symlinkat(2)", (from, to) => void must("symlinkat", from, AT_FDCWD, to)],
  ] satisfies [string, string, (from: string, to: string) => void][]).map(([name, by, link]) =>
    secret(`FR5.${name}`, `a new link by ${by}, and reading through it`, (world) => {
      const path = `${world.inside}/${world.nonce}`;
      link(`${world.outside}/secret.txt`, path);
      return Deno.readTextFile(path);
    })
  ),
  secret("FR5.rename", "a link renamed to where reading is trusted", ({ inside, nonce }) => {
    Deno.renameSync(`${inside}/relative_link`, `${inside}/${nonce}`);
    try {
      return Deno.readTextFileSync(`${inside}/${nonce}`);
    } finally {
      Deno.renameSync(`${inside}/${nonce}`, `${inside}/relative_link`);
    }
  }, { deno: "open", note: "Deno follows links" }),
  secret("FR5.cp", "fs.cp of a link as it stands, and reading through the copy", (world) => {
    const path = `${world.inside}/${world.nonce}`;
    fs.cpSync(`${world.inside}/link`, path, { verbatimSymlinks: true });
    return Deno.readTextFileSync(path);
  }),

  ...([
    ["deno", "Deno.link", (from, to) => Deno.linkSync(from, to)],
    ["node", "fs.linkSync", (from, to) => fs.linkSync(from, to)],
    ["native", "linkat(2)", (from, to) => void must("linkat", AT_FDCWD, from, AT_FDCWD, to, 0)],
  ] satisfies [string, string, (from: string, to: string) => void][]).map(([name, by, link]) =>
    secret(`FR6.${name}`, `a second name for a file outside by ${by}`, (world) => {
      const path = `${world.inside}/${world.nonce}`;
      link(`${world.outside}/secret.txt`, path);
      return Deno.readTextFile(path);
    }, { refusal: /cross-device link|errno 18/ })
  ),
  secret("FR6.rename", "moving a file from outside to the inside", ({ inside, outside, nonce }) => {
    Deno.renameSync(`${outside}/secret.txt`, `${inside}/${nonce}`);
    return Deno.readTextFile(`${inside}/${nonce}`);
  }, { refusal: /cross-device link/ }),

  ...processFiles("self", "the process itself", () => "/proc/self"),
  ...processFiles("canary", "another process of the user", ({ canaryPid }) => `/proc/${canaryPid}`),
  ...processFiles("supervisor", "the supervisor", (world) => `/proc/${world.supervisorPid}`),
  ...processFiles("sibling", "another worker", ({ siblingPid }) => `/proc/${siblingPid}`),
  secret("FR8.environment", "the environment of another process", ({ canaryPid }) => {
    return Deno.readTextFile(`/proc/${canaryPid}/environ`);
  }),
  secret("FR8.environment_node", "the same by fs.readFileSync", ({ canaryPid }) => {
    return fs.readFileSync(`/proc/${canaryPid}/environ`, "utf8");
  }),
  secret("FR8.environment_native", "the same by open(2)", ({ canaryPid }) => {
    return readNatively(`/proc/${canaryPid}/environ`);
  }),
  secret("FR8.memory", "the stack of another process by its mem file", readStack, {
    needs: "root",
  }),
  claim("FR8.list", "the list of all processes", () => {
    return Array.from(Deno.readDirSync("/proc"), ({ name }) => name).join();
  }),

  ...([
    ["self", () => "/proc/self"],
    ["canary", ({ canaryPid }) => `/proc/${canaryPid}`],
    ["supervisor", ({ supervisorPid }) => `/proc/${supervisorPid}`],
    ["thread", () => "/proc/thread-self"],
  ] satisfies [string, (world: World) => string][]).flatMap(([name, folderOf]) => [
    secret(`FR9.${name}_root`, `a file outside by the root folder of ${name}`, (world) => {
      return Deno.readTextFile(`${folderOf(world)}/root${world.outside}/secret.txt`);
    }),
    claim(
      `FR9.${name}_stat`,
      `facts about a file outside by the root folder of ${name}`,
      (world) => {
        return Deno.statSync(`${folderOf(world)}/root${world.outside}/secret.txt`).size;
      },
      name === "self" || name === "thread" ? METADATA : {},
    ),
    claim(`FR9.${name}_program`, `where the program of ${name} lies`, (world) => {
      return Deno.readLinkSync(`${folderOf(world)}/exe`);
    }, name === "self" || name === "thread" ? METADATA : {}),
    claim(`FR9.${name}_files`, `the open files of ${name}`, (world) => {
      return Array.from(Deno.readDirSync(`${folderOf(world)}/fd`), (entry) => entry.name).join();
    }),
  ]),
  secret("FR9.cwd", "a file outside by the current folder of the process", ({ outside }) => {
    const up = relative(Deno.cwd(), `${outside}/secret.txt`);
    return Deno.readTextFile(`/proc/self/cwd/${up}`);
  }),

  claim("FR10.list", "the list of open descriptors in /dev/fd", () => {
    return Array.from(Deno.readDirSync("/dev/fd"), ({ name }) => name).join();
  }),
  claim("FR10.pipe", "reopening an inherited pipe by /dev/fd", reopenPipe, {
    kernel: "open",
    note: "Landlock does not rule pipes; this one belongs to the process",
  }),
  secret("FR10.descriptor", "a folder's descriptor as a way to its neighbour", (world) => {
    const fd = fs.openSync(world.inside, "r");
    try {
      return fs.readFileSync(`/proc/self/fd/${fd}/../outside/secret.txt`, "utf8");
    } finally {
      fs.closeSync(fd);
    }
  }),
  claim("FR10.device", "a device that every machine has", () => opens("/dev/zero")),
  claim("FR10.terminal", "a new terminal by /dev/ptmx", () => opens("/dev/ptmx")),
  claim("FR10.mounts", "what is mounted", () => Deno.readTextFile("/proc/self/mountinfo")),
  claim("FR10.accounts", "the accounts of the machine", () => Deno.readTextFile("/etc/passwd")),
  claim("FR10.sysctl", "the settings of the kernel", () => {
    return Deno.readTextFile("/proc/sys/kernel/osrelease");
  }),
  claim("FR10.devices", "the devices of the machine", () => {
    return Array.from(Deno.readDirSync("/sys"), ({ name }) => name).join();
  }),

  ...([
    ["module", "secret.mjs", undefined],
    ["json", "secret.json", "json"],
    ["text", "secret.txt", "text"],
  ] as const).map(([name, file, type]) =>
    secret(`FR12.${name}`, `import() of a file outside as ${name}`, async ({ outside }) => {
      const { default: value } = await load(urlOf(`${outside}/${file}`), type);
      return value;
    })
  ),
  secret("FR12.dots", "import() of a data module that goes up by ..", async (world) => {
    return (await load(`${urlOf(world.inside)}/../outside/secret.mjs`)).default;
  }),
  secret("FR12.own", "import() by a module of the app's own", async (world) => {
    const source = `export default (await import("../outside/secret.mjs")).default;`;
    return (await loadFrom(world, source)).default;
  }),

  ...([
    ["eval", "eval", (code) => eval(code)],
    ["function", "new Function", (code) => new Function(`return ${code}`)()],
    ["indirect", "the constructor of an async function", (code) => {
      return (async () => {}).constructor(`return ${code}`)();
    }],
    ["vm", "node:vm", (code) => {
      const importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
      return vm.runInThisContext(code, { importModuleDynamically });
    }],
    ["data_module", "a data module", async (code) => {
      return await (await load(dataModule(`export default await ${code}`))).default;
    }],
  ] satisfies [string, string, (code: string) => unknown][]).map(([name, by, run]) =>
    secret(`FR13.${name}`, `import() of a literal inside ${by}`, async ({ outside }) => {
      const literal = JSON.stringify(urlOf(`${outside}/secret.mjs`));
      return await run(`import(${literal}).then((found) => found.default)`);
    }, { note: "CVE-2021-32619" })
  ),
  secret("FR13.data", "a static import in a data module", async ({ outside, nonce }) => {
    const url = urlOf(`${outside}/secret.mjs`);
    return (await load(dataModule(`export { default } from "${url}"; // ${nonce}`))).default;
  }, { note: "CVE-2021-32619" }),
  secret("FR13.blob", "a static import in a blob module", async ({ outside }) => {
    const source = `export { default } from "${urlOf(`${outside}/secret.mjs`)}";`;
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    return (await load(url)).default;
  }, { note: "CVE-2021-32619" }),
  secret("FR13.own", "a static import in a module of the app's own", async (world) => {
    return (await loadFrom(world, `export { default } from "../outside/secret.mjs";`)).default;
  }),
  ...([
    ["module", "secret.mjs", ""],
    ["json", "secret.json", ' with { type: "json" }'],
    ["text", "secret.txt", ' with { type: "text" }'],
  ] as const).map(([name, file, attributes]) =>
    secret(`FR13.web_worker_${name}`, `a static import of ${name} in a Web Worker`, (world) => {
      const url = urlOf(`${world.outside}/${file}`);
      const source = `import value from "${url}"${attributes}; postMessage({ value });`;
      return answerOf(dataModule(source));
    })
  ),
  secret("FR13.web_worker_import", "import() in a Web Worker", ({ outside }) => {
    return inWebWorker(
      async (url) => (await import(url)).default,
      urlOf(`${outside}/secret.mjs`),
    );
  }),
  secret("FR13.thread", "require in a thread of node:worker_threads", (world) => {
    const path = JSON.stringify(`${world.outside}/secret.json`);
    return inThread(`require(${path})`);
  }),
  secret("FR13.thread_file", "fs in a thread of node:worker_threads", (world) => {
    const path = JSON.stringify(`${world.outside}/secret.txt`);
    return inThread(`require("node:fs").readFileSync(${path}, "utf8")`);
  }),
  secret("FR13.source_map", "a source map outside, by the stack of an error", async (world) => {
    const source = `export default () => { throw new Error("mapped"); };
      //# sourceMappingURL=${urlOf(`${world.outside}/secret.map`)}`;
    const { default: fail } = await loadFrom(world, source);
    try {
      (fail as () => never)();
    } catch (error) {
      const { stack } = error as Error;
      return stack?.includes("secret-") ? stack : refuse("the source map was not read");
    }
  }, {
    deno: "open",
    note:
      "Deno reads the source map of any module that is loaded, wherever it is, without a permission check",
  }),

  secret("FR14.require", "require of a file outside", (world) => {
    return requireFrom(world)(`${world.outside}/secret.json`);
  }),
  secret("FR14.relative", "require of a file outside by ..", (world) => {
    return requireFrom(world)("../outside/secret.json");
  }),
  secret("FR14.module", "require of an ES module outside", (world) => {
    return requireFrom(world)("../outside/secret.mjs").default;
  }),
  secret("FR14.home", "require by a function that claims to be of the outside", ({ outside }) => {
    return createRequire(`${outside}/app.cjs`)("./secret.json");
  }),
  secret("FR14.extension", "the loader of require for JSON", (world) => {
    const require = requireFrom(world);
    const loaded: { exports: unknown } = { exports: undefined };
    const loaders = require.extensions as Record<string, (module: object, path: string) => void>;
    loaders[".json"]!(loaded, `${world.outside}/secret.json`);
    return loaded.exports;
  }),
  secret("FR14.hook", "a hook that leads a module's name outside", async (world) => {
    const url = `${urlOf(world.inside)}/node_modules/../../outside/secret.mjs`;
    registerHooks({
      resolve: (name, context, next) =>
        name === "led:astray" ? { url, shortCircuit: true } : next(name, context),
    });
    return (await load("led:astray")).default;
  }, { alone: true, note: "CVE-2026-49406" }),

  secret("FR15.foreign", "require of a node_modules folder outside", ({ outside }) => {
    return createRequire(`${outside}/app.cjs`)("package/index.json");
  }),
  secret("FR15.file", "import() of a file in a node_modules folder outside", async (world) => {
    const url = urlOf(`${world.outside}/node_modules/package/index.json`);
    return JSON.stringify((await load(url, "json")).default);
  }),
  claim("FR16.resolve", "whether a file is there, by require.resolve", (world) => {
    return requireFrom(world).resolve(`${world.outside}/secret.json`);
  }, METADATA),
  claim("FR16.package", "whether a folder is there, by require.resolve", (world) => {
    return requireFrom(world).resolve(`${world.outside}/node_modules/package/index.json`);
  }, METADATA),

  secret("FR17.open", "a SQLite database outside", ({ outside }) => {
    return query(`${outside}/secret.db`);
  }, SQLITE_REFUSAL),
  secret("FR17.read_only", "a SQLite database outside, for reading only", ({ outside }) => {
    return query(`${outside}/secret.db`, { readOnly: true });
  }, SQLITE_REFUSAL),
  secret("FR17.url", "a SQLite database outside by a URL", ({ outside }) => {
    return query(pathToFileURL(`${outside}/secret.db`), { readOnly: true });
  }, SQLITE_REFUSAL),
  secret("FR17.uri", "a SQLite database outside by a URI with settings", ({ outside }) => {
    return query(`${urlOf(`${outside}/secret.db`)}?mode=ro&immutable=1`, { readOnly: true });
  }, SQLITE_REFUSAL),
  secret("FR17.bytes", "a SQLite database outside by a path of bytes", ({ outside }) => {
    return query(Buffer.from(`${outside}/secret.db`), { readOnly: true });
  }, SQLITE_REFUSAL),
  secret("FR17.attach", "ATTACH of a SQLite database outside", ({ outside }) => {
    using database = new DatabaseSync(":memory:");
    database.exec(`ATTACH '${outside}/secret.db' AS other`);
    return database.prepare("SELECT * FROM other.secrets").all();
  }, { ...SQLITE_REFUSAL, note: "CVE-2025-48935" }),
  secret("FR17.attach_statement", "the same by a prepared statement", ({ outside }) => {
    using database = new DatabaseSync(":memory:");
    database.prepare("ATTACH ? AS other").run(`${outside}/secret.db`);
    return database.prepare("SELECT * FROM other.secrets").all();
  }, { ...SQLITE_REFUSAL, note: "CVE-2025-48935" }),
  secret("FR17.attach_limit", "the same after raising the limit on ATTACH", (world) => {
    using database = new DatabaseSync(`${world.inside}/${world.nonce}.db`);
    const { limits } = database as unknown as { limits: { attach: number } };
    limits.attach = 10;
    database.exec(`ATTACH '${world.outside}/secret.db' AS other`);
    return database.prepare("SELECT * FROM other.secrets").all();
  }, SQLITE_REFUSAL),
  secret("FR17.backup", "a backup of a SQLite database outside", async (world) => {
    const copy = `${world.inside}/${world.nonce}.db`;
    using database = new DatabaseSync(`${world.outside}/secret.db`, { readOnly: true });
    await backup(database, copy);
    return query(copy);
  }, SQLITE_REFUSAL),

  claim("FR18.statfs", "fs.statfs of the outside", ({ outside }) => fs.statfsSync(outside).bsize, {
    kernel: "open",
    note: METADATA.note!,
  }),
  claim("FR18.opendir", "fs.opendir of the outside", ({ outside }) => {
    using folder = fs.opendirSync(outside);
    return folder.readSync()?.name;
  }),
  claim("FR18.glob", "fs.globSync of the outside", ({ outside }) => {
    const found = fs.globSync("*.txt", { cwd: outside });
    // What may not be listed is skipped without a word.
    return found.length > 0 ? found.join() : refuse("nothing found");
  }),
  claim("FR18.access", "fs.access of a file outside", ({ outside }) => {
    fs.accessSync(`${outside}/secret.txt`);
    return "there";
  }, METADATA),
  claim("FR18.exists", "fs.existsSync of a file outside", ({ outside }) => {
    return fs.existsSync(`${outside}/secret.txt`) || refuse("said not to be there");
  }, METADATA),
  claim("FR18.stat", "Deno.stat of a file outside", ({ outside }) => {
    return Deno.statSync(`${outside}/secret.txt`).size;
  }, METADATA),
  claim("FR18.lstat", "fs.lstatSync of a file outside", ({ outside }) => {
    return fs.lstatSync(`${outside}/secret.txt`).size;
  }, METADATA),
  claim("FR18.real_path", "Deno.realPath of a link that leads outside", ({ inside }) => {
    return Deno.realPathSync(`${inside}/link`);
  }, LINKED_METADATA),
  claim("FR18.link_target", "where a link leads", ({ inside }) => {
    return Deno.readLinkSync(`${inside}/folder_link`);
  }, LINKED_METADATA),
  claim("FR18.stat_through_link", "Deno.stat through a link that leads outside", ({ inside }) => {
    return Deno.statSync(`${inside}/link`).size;
  }, LINKED_METADATA),
  claim("FR18.watch", "Deno.watchFs of the outside", ({ outside }) => {
    using watcher = Deno.watchFs(outside);
    return String(watcher);
  }),
  claim("FR18.watch_node", "fs.watch of the outside", ({ outside }) => {
    const watcher = fs.watch(outside);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    // It says no by an event.
    watcher.on("error", reject);
    setTimeout(resolve, 100, "watching");
    return promise.finally(() => watcher.close());
  }, { alone: true }),
  secret("FR18.copy", "Deno.copyFile from outside", ({ inside, outside, nonce }) => {
    Deno.copyFileSync(`${outside}/secret.txt`, `${inside}/${nonce}`);
    return Deno.readTextFile(`${inside}/${nonce}`);
  }),
  secret("FR18.cp", "fs.cpSync of a folder outside", ({ inside, outside, nonce }) => {
    fs.cpSync(outside, `${inside}/${nonce}`, { recursive: true });
    return Deno.readTextFile(`${inside}/${nonce}/secret.txt`);
  }),

  claim("FR19.file", "the content of what may only be written", ({ writable }) => {
    return Deno.readTextFile(`${writable}/file.txt`);
  }),
  claim("FR19.list", "the list of a folder that may only be written", ({ writable }) => {
    return Array.from(Deno.readDirSync(writable), ({ name }) => name).join();
  }),
  claim("FR19.created", "the content of what may only be created", ({ creatable }) => {
    return Deno.readTextFile(`${creatable}/file.txt`);
  }),
  claim("FR19.both_ways", "opening for both ways what may only be written", ({ writable }) => {
    const fd = fs.openSync(`${writable}/file.txt`, "r+");
    fs.closeSync(fd);
    return "opened";
  }),
  claim("FR19.facts", "facts about what may only be written, by its open file", (world) => {
    using file = Deno.openSync(`${world.writable}/file.txt`, { write: true });
    return file.statSync().size;
  }, { ...METADATA, note: `${METADATA.note}; CVE-2025-61786` }),
  claim("FR19.facts_node", "the same by fs.fstat", ({ writable }) => {
    const fd = fs.openSync(`${writable}/file.txt`, fs.constants.O_WRONLY);
    try {
      return fs.fstatSync(fd).size;
    } finally {
      fs.closeSync(fd);
    }
  }, {
    deno: "contained",
    kernel: "contained",
    note: "size and times of a file that it may write, but no content",
  }),

  claim("FR20.create", "reading through a right to create", ({ writable }) => {
    const fd = fs.openSync(`${writable}/file.txt`, fs.constants.O_RDONLY | fs.constants.O_CREAT);
    try {
      return fs.readFileSync(fd, "utf8");
    } finally {
      fs.closeSync(fd);
    }
  }),
  claim("FR20.append", "reading what was opened to append", ({ writable }) => {
    const fd = fs.openSync(`${writable}/file.txt`, "a+");
    try {
      return fs.readFileSync(fd, "utf8") ||
        new Uint8Array(fs.readSync(fd, new Uint8Array(9), 0, 9, 0));
    } finally {
      fs.closeSync(fd);
    }
  }),

  secret("FR21.race", "swapping a file for a link while another thread reads it", raceForLink, {
    alone: true,
    deno: "open",
    note: "Deno follows links, swapped or not",
  }),

  secret("FR23.load", "process.loadEnvFile of a file outside", ({ outside }) => {
    process.loadEnvFile(`${outside}/.env`);
    return process.env.SECRET;
  }, { alone: true, note: "CVE-2026-49983" }),

  secret("FR24.openat2", "openat2(2) of a file outside", ({ outside }) => {
    const fd = must("openat2", AT_FDCWD, `${outside}/secret.txt`, new Uint8Array(24), 24);
    return readDescriptor(fd);
  }),
  secret("FR24.beside", "openat(2) relative to the descriptor of an unveiled folder", (world) => {
    const folder = must("openat", AT_FDCWD, world.inside, O_PATH, 0);
    const fd = must("openat", folder, "../outside/secret.txt", 0, 0);
    must("close", folder);
    return readDescriptor(fd);
  }),
  secret("FR24.reopen", "a descriptor without rights, reopened for reading", ({ outside }) => {
    const path = must("openat", AT_FDCWD, `${outside}/secret.txt`, O_PATH, 0);
    try {
      return readNatively(`/proc/self/fd/${path}`);
    } finally {
      must("close", path);
    }
  }),
  secret("FR24.folder", "openat(2) beneath a descriptor without rights", ({ outside }) => {
    const folder = must("openat", AT_FDCWD, outside, O_PATH, 0);
    try {
      return readDescriptor(must("openat", folder, "secret.txt", 0, 0));
    } finally {
      must("close", folder);
    }
  }),
  claim("FR24.handle", "a handle of a file outside", ({ outside }) => {
    return reaches("name_to_handle_at", AT_FDCWD, `${outside}/secret.txt`, 1, 1, 0);
  }),
  claim("FR24.by_handle", "open_by_handle_at(2)", () => reaches("open_by_handle_at", -1, 1, 0), {
    needs: "root",
  }),
  claim("FR24.tree", "open_tree(2) of the outside", ({ outside }) => {
    return must("close", must("open_tree", AT_FDCWD, outside, 0));
  }),
  claim("FR24.inotify", "a new inotify", () => must("close", must("inotify_init1", 0))),
  claim("FR24.inotify_watch", "a watch on the outside", ({ outside }) => {
    return reaches("inotify_add_watch", -1, outside, 2);
  }),
  claim("FR24.fanotify", "a new fanotify", () => {
    return must("close", must("fanotify_init", FAN_REPORT_FID, 0));
  }),
  claim("FR24.fanotify_mark", "a fanotify mark on the outside", ({ outside }) => {
    return reaches("fanotify_mark", -1, 1, 2, AT_FDCWD, outside);
  }),
  claim("FR24.notify", "a signal at each change of a folder, by F_NOTIFY", () => {
    return reaches("fcntl", -1, F_NOTIFY, 0);
  }),

  claim("FR25.path", "a descriptor without rights of a file outside", ({ outside }) => {
    return must("close", must("openat", AT_FDCWD, `${outside}/secret.txt`, O_PATH, 0)) === 0;
  }, METADATA),
  claim("FR25.statx", "statx(2) of a file outside", ({ outside }) => {
    const facts = new Uint8Array(256);
    must("statx", AT_FDCWD, `${outside}/secret.txt`, 0, 0xfff, facts);
    return new DataView(facts.buffer).getUint32(0, true);
  }, METADATA),
  claim("FR25.link", "readlinkat(2) of the program of the process", () => {
    return must("readlinkat", AT_FDCWD, "/proc/self/exe", new Uint8Array(256), 256);
  }, METADATA),
  claim("FR25.attribute", "getxattr(2) of a file outside", ({ outside }) => {
    return reaches("getxattr", `${outside}/secret.txt`, "user.audit", new Uint8Array(64), 64);
  }),
  claim("FR25.attributes", "listxattr(2) of a file outside", ({ outside }) => {
    return reaches("listxattr", `${outside}/secret.txt`, new Uint8Array(64), 64);
  }),
  claim("FR25.statfs", "statfs(2) of the outside", ({ outside }) => {
    return must("statfs", outside, new Uint8Array(256)) === 0;
  }, METADATA),

  // What a worker's engine reads for itself, and its code is not to.
  claim("FR26.config", "the config", ({ configFile }) => Deno.readTextFile(configFile)),
  claim("FR26.config_native", "the config by open(2)", ({ configFile }) => {
    return readNatively(configFile);
  }),
  claim("FR26.module", "the text of the app's own module", ({ module }) => {
    return Deno.readTextFile(module);
  }),
  claim(
    "FR26.program",
    "opening the Deno program",
    ({ denoProgram }) => opens(denoProgram),
    ENGINE,
  ),
  claim("FR26.library", "the names of the machine's libraries", () => {
    return Array.from(Deno.readDirSync("/usr/lib"), ({ name }) => name).join();
  }, ENGINE),
  claim("FR26.cache", "what programs store beside the cache of Deno", ({ denoDir }) => {
    return Array.from(Deno.readDirSync(denoDir), ({ name }) => name).join();
  }),
  ...GIVEN_UP,
  ...KEYS,
];

/** O_PATH of fcntl.h. */
const O_PATH = 0x200000;
/** FAN_REPORT_FID of linux/fanotify.h: what even an ordinary user may ask for. */
const FAN_REPORT_FID = 0x200;
/** F_NOTIFY of linux/fcntl.h. */
const F_NOTIFY = 1026;

function refuse(why: string): never {
  throw new Refused(why);
}

function readDescriptor(fd: number): string {
  const bytes = new Uint8Array(4096);
  const length = must("read", fd, bytes, bytes.length);
  must("close", fd);
  return new TextDecoder().decode(bytes.subarray(0, length));
}

/** Standard error is a pipe to the supervisor. */
function reopenPipe(): string {
  using file = Deno.openSync("/dev/fd/2", { write: true });
  return String(file);
}

/** Evaluates an expression in a thread of Node's kind. */
function inThread(expression: string): Promise<unknown> {
  const source = `
    const { parentPort } = require("node:worker_threads");
    try {
      parentPort.postMessage({ value: ${expression} });
    } catch ({ name, code, message }) {
      parentPort.postMessage({ error: { name, code, message } });
    }`;
  const thread = new threads.Worker(source, { eval: true });
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  thread.on("message", ({ value, error }) => {
    if (error === undefined) resolve(value);
    else reject(Object.assign(new Error(error.message), error));
  });
  thread.on("error", reject);
  return promise.finally(() => thread.terminate());
}

/** Reads a name that is now a file, now a link that leads outside. */
async function raceForLink({ inside, nonce }: World): Promise<string> {
  const [file, link, name] = [`${inside}/${nonce}.file`, `${inside}/link`, `${inside}/${nonce}`];
  fs.writeFileSync(file, "nothing");
  const reader = inWebWorker(async (path) => {
    const found = new Set<string>();
    // Until the link has let it through, or has been refused often enough to say that it does not.
    for (let refused = 0; refused < 100;) {
      try {
        const text = await Deno.readTextFile(path);
        found.add(text);
        if (text !== "nothing") break;
      } catch (error) {
        // Between the two names it is not there.
        if (error instanceof Deno.errors.NotFound) continue;
        found.add(String(error));
        refused++;
      }
    }
    return [...found].join("\n");
  }, name);
  let over = false;
  const read = reader.finally(() => over = true);
  let refusal: unknown;
  while (!over && refusal === undefined) {
    for (const from of [file, link]) {
      try {
        fs.renameSync(from, name);
        await new Promise((resolve) => setTimeout(resolve, 1));
        fs.renameSync(name, from);
      } catch (error) {
        refusal = error;
      }
    }
  }
  // Its reader waits in vain then, and ends with the process.
  if (refusal !== undefined) throw refusal;
  return await read as string;
}

/** Reads the strings at the end of a process's stack, where its environment is. */
function readStack({ canaryPid }: World): string {
  const maps = Deno.readTextFileSync(`/proc/${canaryPid}/maps`);
  const [, start, end] = /^(\w+)-(\w+) .*\[stack\]$/m.exec(maps)!.map((text) => parseInt(text, 16));
  const fd = fs.openSync(`/proc/${canaryPid}/mem`, "r");
  const bytes = new Uint8Array(Math.min(end! - start!, 8192));
  fs.readSync(fd, bytes, 0, bytes.length, end! - bytes.length);
  fs.closeSync(fd);
  return new TextDecoder().decode(bytes);
}
