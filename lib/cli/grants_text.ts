/** What the processes of a config may do, on one screen: its grants, and nothing that is the same for all. Pure. */
import { relative } from "node:path";
import { acmeFolder, authorityOf } from "../config/acme_place.ts";
import type { Compartment, Config, ListenAddress, Unveil } from "../config/config.ts";
import { LEAST_ABI } from "../sandbox/landlock.ts";
import { namesOf } from "../sandbox/resolver_compartment.ts";
import type { Commanded } from "../sandbox/worker_command.ts";
import { formatTable, wrapText } from "./table.ts";
import type { View } from "./text.ts";

/** How many of one kind are listed. */
const MOST = 8;

const RIGHTS: Readonly<Record<string, string>> = { r: "read", w: "write", c: "create" };

/** What is shown besides the config. */
export interface GrantFacts {
  readonly view: View;
  readonly abi: number;
  /** Whom a process runs as. */
  readonly accountOf: (who: Commanded) => string;
}

type Grant = readonly [may: string, what: readonly string[]];

/** The answer. */
export function formatGrants(config: Config, facts: GrantFacts): string {
  const { view: { width, paint } } = facts;
  const grants = processesOf(config);
  const rows = grants.flatMap(({ process, may }) => {
    const given = may.filter(([, what]) => what.length > 0);
    return given.map(([kind, what], index) => [index === 0 ? process : "", kind, listed(what)]);
  });
  const [head, ...others] = formatTable(["PROCESS", "MAY", "WHAT"], rows, width).split("\n");
  return [
    wrapText(`${config.file}: what each process may do; all else is refused`, width),
    "",
    paint("head", head!),
    ...others,
    "",
    ...layersOf(config, facts).map((line) => wrapText(line, width)),
    wrapText("holdfast explain --all: by which layer, user ids, limits, flags", width),
  ].join("\n");
}

function listed(what: readonly string[]): string {
  const shown = what.slice(0, MOST);
  const more = what.length - shown.length;
  return [...shown, ...more > 0 ? [`${more} more: see --all`] : []].join(", ");
}

/** Each process, and what it is granted. */
function processesOf(config: Config): { process: string; may: Grant[] }[] {
  const { helpers, listen, traces, log, metrics, acme, runtime, workers } = config;
  const short = (path: string) => shorten(path, config.folder);
  const names = config.wall === "kernel" ? namesOf(config) : [];
  const keys = new Set(listen.flatMap(({ tls = [] }) => tls.map(({ key }) => short(key))));
  const count = (number: number) => number === 1 ? "" : ` ×${number}`;
  return [
    {
      process: `worker${count(workers)}`,
      may: [
        ["answer on", listen.map(servedAt)],
        ...grantsOf(config, short),
        ["call", helpers.map(({ name }) => name)],
        ["send traces to", traces ? [traces.collector] : []],
        ["hold, not the app", [...keys]],
      ],
    },
    ...helpers.map((helper) => ({
      process: `helper ${helper.name}${count(helper.instances)}`,
      may: [["answer", ["calls of the workers"]] as const, ...grantsOf(helper, short)],
    })),
    ...log.folder === undefined ? [] : [{
      process: "logger",
      may: [["read, write, create", [short(log.folder)]] as const],
    }],
    ...metrics === undefined ? [] : [{
      process: "metrics",
      may: [["answer on", [metrics.listen.text]] as const],
    }],
    ...acme === undefined ? [] : [{
      process: "acme",
      may: [
        ["answer on", acme.listen.map(servedAt)] as const,
        ["connect to", [authorityOf(acme.directory)]] as const,
        ["read, write, create", [short(acmeFolder(runtime))]] as const,
      ],
    }],
    ...names.length === 0 ? [] : [{ process: "resolver", may: [["look up", names] as const] }],
    {
      process: "supervisor",
      may: [
        [
          "listen on",
          [...listen, ...acme?.listen ?? [], ...metrics ? [metrics.listen] : []]
            .map(({ text }) => text),
        ],
        ["start", ["these processes, and no others"]],
        ["read", ["whatever its user may read"]],
        ["write", [short(runtime)]],
      ],
    },
  ];
}

/** What the config grants a process. */
function grantsOf(compartment: Compartment, short: (path: string) => string): Grant[] {
  const { unveil, net, env, sys = [], tmp, native, dropAfterOpen = [] } = compartment;
  const isAbsent = ({ exists, folder }: Unveil) => !exists && !folder;
  // What is not there is to be seen.
  const sorted = unveil.toSorted((a, b) => Number(isAbsent(b)) - Number(isAbsent(a)));
  const byRights = Map.groupBy(sorted, ({ rights }) => rights);
  const nameOf = (each: Unveil) => {
    const { path } = each;
    const notes = [
      ...dropAfterOpen.includes(path) ? ["until it has opened"] : [],
      ...isAbsent(each) ? ["not there"] : [],
    ];
    return `${short(path)}${notes.length === 0 ? "" : ` (${notes.join(", ")})`}`;
  };
  return [
    ...[...byRights].map(([rights, paths]): Grant => [
      [...rights].map((right) => RIGHTS[right]).join(", "),
      paths.map(nameOf),
    ]),
    ["read, write, create", tmp ? ["a temporary folder of its own"] : []],
    [
      "connect to",
      net.map((entry) => entry.replace(/^unix:(.*)$/s, (_, path) => `unix:${short(path)}`)),
    ],
    ["see variables", env],
    ["know", sys],
    ["load", native ? ["native code of its packages"] : []],
  ];
}

function servedAt({ text, tls, redirect }: ListenAddress): string {
  return tls ? `${text} (HTTPS)` : redirect ? `${text} (sends on to HTTPS)` : text;
}

/** As the config has it, where it lies beside that. */
function shorten(path: string, folder: string): string {
  const short = relative(folder, path);
  return short === "" ? "." : short.startsWith("..") ? path : short;
}

/** Who enforces it, in a line or two. */
function layersOf(config: Config, { view: { paint }, abi, accountOf }: GrantFacts): string[] {
  if (config.wall === "deno") {
    return [
      paint("warning", 'By Deno alone ("wall": "deno"): native code is not restricted.'),
    ];
  }
  if (abi < LEAST_ABI) {
    return [
      paint("bad", `This machine has no kernel's wall (Landlock ABI ${abi}): a start is refused.`),
    ];
  }
  const who = ["worker" as const, ...config.helpers.map(({ name }) => `helper ${name}` as const)];
  const accounts = new Set(who.map(accountOf));
  const as = accounts.size === 1
    ? `All as ${[...accounts][0]}.`
    : accounts.size === who.length
    ? "Each under a user id of its own."
    : "Some share a user id.";
  return [`By Deno's permissions, and by the kernel: Landlock ABI ${abi}, seccomp. ${as}`];
}
