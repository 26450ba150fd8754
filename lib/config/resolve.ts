/** What a config means on this machine: every path, account and default. */
import { basename, dirname, join, resolve } from "node:path";
import { resolveAccount } from "./account.ts";
import { acmeFiles } from "./acme_place.ts";
import type { ListenText } from "./address.ts";
import { BOUNDS } from "./bounds.ts";
import type { Account, AppPlace, Config, HelperConfig, ListenAddress, Unveil } from "./config.ts";
import { type Override, parsePartly, type RenamedKey } from "./parse.ts";
import { refusePath } from "./path_text.ts";
import { formatKey } from "./format_key.ts";
import { nearestName } from "./nearest.ts";
import { ConfigError, type Problem, quote, Refusal } from "./problem.ts";
import { freezeConfig } from "./freeze.ts";
import { findProject } from "./project_files.ts";
import type { ConfigFile } from "./schema.ts";
import { TEMPORARY_VARIABLE } from "./temporary.ts";

// sockaddr_un has 108 bytes for the path and its NUL.
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Validates a config's text, and resolves every path and account on this machine.
 *
 * @throws {ConfigError} with every problem of the syntax; if none, of the schema, and of the files and
 * accounts that the config names
 */
export async function resolveText(
  source: Omit<ConfigSource, "placeApp">,
  override?: Override,
): Promise<Config> {
  return await resolveConfig({ ...source, placeApp }, override);
}

/** A config's text, and how its paths are resolved. */
export interface ConfigSource {
  /** For the messages. */
  readonly file: string;
  /** The path by which it was found, if another. */
  readonly named?: string;
  /** Where relative paths start. */
  readonly folder: string;
  readonly text: string;
  /** Finds a module, by its absolute path. */
  placeApp(module: string): Promise<AppPlace | Refusal>;
  /** The folder in which an unveiled path starts instead; `undefined` leaves the unveil out. */
  unveilFrom?(path: string, rights: string): string | undefined;
  /** Takes a key that still has an old name. */
  warn(key: RenamedKey): void;
}

/**
 * Validates a config's text, and resolves every path and account on this machine.
 *
 * @param override a file whose keys replace those of the config
 * @throws {ConfigError} as {@link resolveText} does
 */
export async function resolveConfig(
  source: ConfigSource,
  override?: Override,
): Promise<Config> {
  const { file: real, named = real, folder, text, placeApp, unveilFrom = () => folder } = source;
  const { values, positionOf, fileOf, warnings, isOwn, ...parsed } = parsePartly(
    text,
    real,
    override,
  );
  for (const warning of warnings) source.warn(warning);
  const problems: Problem[] = [...parsed.problems];
  /** Returns a value; a refusal becomes a problem of the key at `path`. */
  function accept<T>(path: readonly PropertyKey[], found: T | Refusal): T | undefined {
    if (!(found instanceof Refusal)) return found;
    if (!isOwn(String(path[0]))) return undefined;
    const file = fileOf(path);
    const at = positionOf(path);
    problems.push({ ...found, key: formatKey(path), at, ...file !== undefined && { file } });
    return undefined;
  }

  const app = accept(["app"], await placeApp(resolve(folder, values.app)));
  const runtime = resolve(folder, values.runtime);
  const addresses = values.listen.map((text) => placeListen(text, folder, runtime)).map(besideIpv4);
  for (const index of addresses.keys()) {
    const certified = !wantsAcme(values.listen[index]!) || values.acme !== undefined ||
      !isOwn("acme");
    accept(
      ["listen", index],
      refuseListen(addresses, index) ?? refuseServed(addresses, index, { ...values, certified }),
    );
  }
  const { listen, acme } = withAcme(values, addresses, folder);
  if (acme) accept(["acme"], refuseAcme(acme, values.listen));
  if (acme?.trust !== undefined && await kindOf(acme.trust) !== "file") {
    accept(["acme", "trust"], missingTrust(acme.trust));
  }
  /** The unveils below a key. */
  async function placeUnveils(key: readonly string[], paths: Readonly<Record<string, string>>) {
    const unveil: Unveil[] = [];
    for (const [path, rights] of Object.entries(paths)) {
      const from = unveilFrom(path, rights);
      if (from === undefined) continue;
      const found = accept([...key, path], await placeUnveil(from, path, rights));
      if (found !== undefined) unveil.push({ ...found, at: positionOf([...key, path]) });
    }
    return unveil;
  }
  const metrics = values.metrics && { listen: placeListen(values.metrics.listen, folder, runtime) };
  if (metrics) accept(["metrics", "listen"], refuseMetrics(metrics.listen, addresses));
  /** The entries of a `net`; a path is absolute from here on. */
  const placeNet = (key: readonly string[], entries: readonly string[]) =>
    entries.flatMap((entry, index) => accept([...key, index], placeDialled(entry, folder)) ?? []);
  const net = placeNet(["net"], values.net);
  const unveil = await placeUnveils(["unveil"], values.unveil);
  /** The unveils that are given up again, by the paths that these were placed at. */
  function placeDrops(
    key: readonly string[],
    drops: readonly string[],
    spelled: Readonly<Record<string, string>>,
    placed: readonly Unveil[],
  ): string[] {
    const same = (one: string) => (other: string) =>
      resolve(folder, one) === resolve(folder, other);
    const dropped = Object.keys(spelled).flatMap((path) => {
      const index = drops.findIndex(same(path));
      const from = index < 0 ? undefined : unveilFrom(path, spelled[path]!);
      return from === undefined ? [] : [{ index, path: resolve(from, path) }];
    });
    for (const [index, drop] of drops.entries()) {
      const named = Object.keys(spelled).some(same(drop));
      accept([...key, index], named ? undefined : refuseDrop(drop));
    }
    for (const { index, path } of dropped) {
      const outer = placed.find((each) =>
        isInside(path, each.path) && !dropped.some((other) => other.path === each.path)
      );
      accept([...key, index], outer && refuseKept(drops[index]!, outer.path));
    }
    return dropped.map(({ path }) => path);
  }
  const dropAfterOpen = placeDrops(["dropAfterOpen"], values.dropAfterOpen, values.unveil, unveil);
  const found = await findUser(values);
  const blamed = found instanceof Refusal && found.code === "group_unknown" ? "group" : "user";
  const account = accept([blamed], found);
  accept(["tmp"], refuseTemporary(values));
  const helpers: HelperConfig[] = [];
  for (
    const [name, { module, memoryBytes, unveil, env, dropAfterOpen, ...facts }] of Object.entries(
      values.helpers,
    )
  ) {
    const key = ["helpers", name];
    const place = accept([...key, "module"], await placeApp(resolve(folder, module)));
    const placed = await placeUnveils([...key, "unveil"], unveil);
    const drop = placeDrops([...key, "dropAfterOpen"], dropAfterOpen, unveil, placed);
    const net = placeNet([...key, "net"], facts.net);
    accept([...key, "tmp"], refuseTemporary({ ...facts, env }));
    accept([...key, "native"], refuseNative(name, facts.native, values.wall));
    if (place === undefined) continue;
    const limits = { ...values.limits, ...memoryBytes !== undefined && { memoryBytes } };
    const variables = { env: env.names, envValues: env.values };
    helpers.push({
      ...{ name, ...facts, ...variables, net, app: place, unveil: placed, dropAfterOpen: drop },
      ...{ limits, account },
    });
  }
  if (app === undefined || problems.length > 0) throw new ConfigError(real, inOrder(problems));

  const { sys, tmp, engine, reload, recycle, watchdog, wall, limits, onViolation } = values;
  const { names: env, values: envValues } = values.env;
  const log = {
    ...values.log,
    folder: values.log.folder === undefined ? undefined : resolve(folder, values.log.folder),
  };
  const at = {
    app: positionOf(["app"]),
    listen: positionOf(["listen"]),
    log: positionOf(["log", "folder"]),
    runtime: positionOf(["runtime"]),
    user: positionOf(["user"]),
  };
  return freezeConfig({
    ...{ file: real, named, folder, app, listen, unveil, helpers, env, envValues, sys, tmp },
    ...{ net, engine, wall, jitless: values.jitless, dropAfterOpen },
    trustedProxies: values.trustedProxies,
    clientAddressHeader: values.clientAddressHeader,
    ...{ onViolation, limits, reload, recycle, watchdog, workers: countWorkers(values.workers) },
    spare: values.spare,
    http: values.http,
    ...values.readiness !== undefined && { readiness: values.readiness },
    ...values.envFile !== undefined && { envFile: resolve(folder, values.envFile) },
    ...metrics && { metrics },
    ...acme && { acme },
    ...values.traces && { traces: values.traces },
    ...{ log, account, runtime, at },
  });
}

/** As they come in the file. */
function inOrder(problems: readonly Problem[]): Problem[] {
  const place = ({ at }: Problem) => at === undefined ? 0 : at.line * 10_000 + at.column;
  return [...problems].sort((a, b) => place(a) - place(b));
}

/** One value alone can say where temporary files go. */
function refuseTemporary({ tmp, env }: Pick<ConfigFile, "tmp" | "env">): Refusal | undefined {
  if (!tmp || !env.names.includes(TEMPORARY_VARIABLE)) return undefined;
  return new Refusal(
    "tmp_and_variable",
    `"tmp" sets ${TEMPORARY_VARIABLE}, and "env" lists it`,
    `leave ${TEMPORARY_VARIABLE} out of "env", or leave "tmp" out and unveil the folder that it names`,
  );
}

function refuseNative(name: string, native: boolean, wall: Config["wall"]): Refusal | undefined {
  if (!native || wall === "kernel") return undefined;
  return new Refusal(
    "native_without_wall",
    `native code of the helper ${name} would be held by nothing with "wall": "deno"`,
    'set "wall": "kernel", or leave "native" out',
  );
}

/** Finds the app's module and its project, the folder whose settings Deno will use for it. */
async function placeApp(module: string): Promise<AppPlace | Refusal> {
  const kind = await kindOf(module);
  if (kind === "folder") return folderRefusal(module);
  if (kind !== "file") return missingRefusal(module);
  return { module, project: findProject(module) };
}

/** What apps are called, the likeliest first. */
const APP_NAMES = ["main", "app", "index", "server", "mod"]
  .flatMap((name) => ["ts", "tsx", "js", "mjs"].map((end) => `${name}.${end}`));

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile).map(({ name }) => name);
  } catch {
    return [];
  }
}

function folderRefusal(folder: string): Refusal {
  const found = ["", "src"].flatMap((inner) => {
    const names = namesIn(join(folder, inner));
    return APP_NAMES.filter((name) => names.includes(name)).map((name) =>
      join(folder, inner, name)
    );
  });
  const hint = found.length === 0
    ? "write the path of the module in it that is the app"
    : `write the module in it, such as ${quote(found[0]!)}`;
  return new Refusal("app_folder", `${quote(folder)} is a folder`, hint);
}

function missingRefusal(module: string): Refusal {
  const names = namesIn(dirname(module));
  const stem = (name: string) => name.replace(/\.[^.]*$/, "");
  const [, url] = /\/((?:https?|npm|jsr|node|file):.*)$/.exec(module) ?? [];
  if (url !== undefined) {
    return new Refusal(
      "app_url",
      `${quote(url)} is no path`,
      "write the path of a module of the project, which may export what it imports from there",
    );
  }
  const near = names.find((name) => stem(name) === stem(basename(module))) ??
    nearestName(basename(module), names);
  const hint = near === undefined
    ? "write the module's path, relative to the config's folder"
    : `did you mean ${quote(join(dirname(module), near))}?`;
  return new Refusal("app_missing", `${quote(module)} is not a file, or does not exist`, hint);
}

/** What sends clients on is the acme process's, where there is one: the authority asks there too. */
function withAcme(
  { acme }: Pick<ConfigFile, "acme">,
  addresses: readonly ListenAddress[],
  folder: string,
): Pick<Config, "acme" | "listen"> {
  if (acme === undefined) return { listen: addresses };
  const { trust, ...more } = acme;
  return {
    listen: addresses.filter(({ redirect }) => !redirect),
    acme: {
      ...more,
      ...trust !== undefined && { trust: resolve(folder, trust) },
      listen: addresses.filter(({ redirect }) => redirect),
    },
  };
}

/** It names no certificate of its own. */
function wantsAcme({ tls }: ListenText): boolean {
  return tls?.length === 0;
}

function refuseAcme(
  { listen }: NonNullable<Config["acme"]>,
  spelled: readonly ListenText[],
): Refusal | undefined {
  if (!spelled.some(wantsAcme)) {
    return new Refusal(
      "acme_unused",
      'no listener takes the certificate: each with "https" has its own',
      'leave "cert" and "key" out of one, or leave out "acme"',
    );
  }
  if (listen.length === 0) {
    return new Refusal(
      "acme_without_http",
      "the authority asks on port 80, and nothing is listened on there",
      'add { "http": "0.0.0.0:80", "redirect": "https" } to "listen"',
    );
  }
  const proxied = listen.find(({ proxyProtocol }) => proxyProtocol);
  if (proxied === undefined) return undefined;
  return new Refusal(
    "acme_behind_proxy",
    `${quote(proxied.text)} with "proxyProtocol" cannot be asked by the authority itself`,
    'leave out "proxyProtocol" there, or let the proxy end TLS, and leave out "acme"',
  );
}

function missingTrust(path: string): Refusal {
  const message = `${quote(path)} is not a file, or cannot be read`;
  return new Refusal("acme_trust", message, "name the certificate of the authority, in PEM");
}

function placeListen(spelled: ListenText, folder: string, runtime: string): ListenAddress {
  if (spelled.kind !== "unix") {
    const { tls, ...place } = spelled;
    if (tls === undefined) return place;
    // Of no file is the certificate that acme gets.
    if (wantsAcme(spelled)) return { ...place, tls: [acmeFiles(runtime)] };
    const placed = tls.map(({ cert, key }) => ({
      cert: resolve(folder, cert),
      key: resolve(folder, key),
    }));
    return { ...place, tls: placed };
  }
  const path = resolve(folder, spelled.path);
  const { mode, proxyProtocol } = spelled;
  const address = { kind: "unix", text: `unix:${path}`, path, mode } as const;
  return proxyProtocol ? { ...address, proxyProtocol } : address;
}

function isIpv4({ host }: { readonly host: string }): boolean {
  return !host.includes(":");
}

/**
 * `[::]` takes IPv4 as well, unless an address of IPv4 with its port is beside it: two sockets cannot
 * both have that (ipv6(7), IPV6_V6ONLY).
 */
function besideIpv4(
  address: ListenAddress,
  _index: number,
  all: readonly ListenAddress[],
): ListenAddress {
  if (address.kind !== "tcp" || address.host !== "::") return address;
  const beside = all.some((each) =>
    each.kind === "tcp" && each.port === address.port && isIpv4(each)
  );
  return beside ? { ...address, ipv6Only: true } : address;
}

/** Whether a wildcard includes the other address. */
function covers(wildcard: ListenAddress, address: ListenAddress): boolean {
  if (wildcard.kind !== "tcp" || address.kind !== "tcp" || wildcard.port !== address.port) {
    return false;
  }
  const host = isIpv4(address) ? "0.0.0.0" : "::";
  return wildcard.host === host && address.host !== host;
}

function refuseListen(listen: readonly ListenAddress[], index: number): Refusal | undefined {
  const address = listen[index]!;
  if (listen.findIndex(({ text }) => text === address.text) < index) {
    return new Refusal("listen_repeated", `${quote(address.text)} is repeated`, "write it once");
  }
  const covering = listen.find((each) => covers(each, address));
  if (covering) {
    return new Refusal(
      "listen_covered",
      `${quote(covering.text)} already takes the connections of ${quote(address.text)}`,
      "write one of them",
    );
  }
  return address.kind === "unix" ? refuseLong("listen_path_long", address.path) : undefined;
}

function refuseLong(code: string, path: string): Refusal | undefined {
  const bytes = new TextEncoder().encode(path).length;
  if (bytes <= MAX_SOCKET_PATH_BYTES) return undefined;
  return new Refusal(
    code,
    `${quote(path)} is ${bytes} bytes long; the path of a socket may have ${MAX_SOCKET_PATH_BYTES}`,
    "choose a shorter path, such as one in /run",
  );
}

/** An entry of `net`, with its path where it is a Unix socket. */
function placeDialled(entry: string, folder: string): string | Refusal {
  if (!entry.startsWith("unix:")) return entry;
  const path = resolve(folder, entry.slice("unix:".length));
  return refusePath(path) ?? refuseLong("net_path_long", path) ?? `unix:${path}`;
}

/** What is served at an address takes other keys too. */
function refuseServed(
  listen: readonly ListenAddress[],
  index: number,
  { wall, engine, certified }: Pick<ConfigFile, "wall" | "engine"> & { certified: boolean },
): Refusal | undefined {
  const { text, tls, redirect } = listen[index]!;
  if (redirect && listen.every((each) => each.tls === undefined)) {
    return new Refusal(
      "redirect_nowhere",
      `${quote(text)} is to send clients on, and nothing is listened on with "https"`,
      'add { "https": "0.0.0.0:443", "cert": "fullchain.pem", "key": "key.pem" }',
    );
  }
  if (tls === undefined) return undefined;
  if (!certified) {
    return new Refusal(
      "https_no_certificate",
      `${quote(text)} with "https" has no certificate`,
      'add "cert" and "key" beside it, or "acme": { "names": ["example.com"] } to get one by itself',
    );
  }
  if (wall !== "kernel") {
    return new Refusal(
      "https_without_wall",
      `${quote(text)} with "https" needs the kernel's wall: through it a worker gets the listener`,
      'leave out "wall", or let a proxy in front end TLS',
    );
  }
  if (engine === "native") return undefined;
  return new Refusal(
    "https_on_node",
    `${quote(text)} with "https" needs the native engine`,
    'leave out "engine", or let a proxy in front end TLS',
  );
}

function refuseMetrics(
  address: ListenAddress,
  listen: readonly ListenAddress[],
): Refusal | undefined {
  if (address.kind === "tcp" && !/^(127\.|::1$|localhost$)/.test(address.host)) {
    return new Refusal(
      "metrics_not_loopback",
      `${quote(address.text)} can be reached from other machines, and there is no authentication`,
      'write "127.0.0.1:9464" or a Unix socket, and put a proxy with authentication in front',
    );
  }
  return refuseListen([...listen, address], listen.length);
}

async function placeUnveil(
  from: string,
  spelled: string,
  rights: string,
): Promise<Unveil | Refusal> {
  const path = resolve(from, spelled);
  // The schema checked the path as written; here the config's folder is in front of it.
  const refusal = refusePath(path);
  if (refusal) return refusal;
  const kind = await kindOf(path);
  // What is below these is shown to few, and judged by its name.
  if (kind !== "unknown" || /^\/(proc|sys|dev)(\/|$)/.test(path)) {
    const folder = kind === "folder" || kind === "missing" && spelled.endsWith("/");
    return { path, rights, exists: kind !== "missing", folder };
  }
  const message = `this user has no access to ${quote(path)}`;
  return new Refusal("unveil_unreadable", message, "start Holdfast as a user that has");
}

function refuseDrop(path: string): Refusal {
  return new Refusal(
    "drop_not_unveiled",
    `${quote(path)} is not in "unveil"`,
    "write a path of it, as it is written there",
  );
}

function refuseKept(path: string, outer: string): Refusal {
  return new Refusal(
    "drop_inside",
    `${quote(path)} is inside ${quote(outer)}, which stays unveiled, and so would this`,
    "put the two side by side, or drop both",
  );
}

function isInside(path: string, folder: string): boolean {
  return path !== folder && path.startsWith(folder.replace(/\/?$/, "/"));
}

async function findUser({ user, group }: ConfigFile): Promise<Account | Refusal | undefined> {
  return user === undefined ? undefined : await resolveAccount(user, group);
}

function countWorkers(workers: ConfigFile["workers"]): number {
  return workers === "auto" ? Math.min(navigator.hardwareConcurrency, BOUNDS.workers[1]) : workers;
}

async function kindOf(path: string): Promise<"file" | "folder" | "missing" | "unknown"> {
  try {
    return (await Deno.stat(path)).isDirectory ? "folder" : "file";
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory;
    return missing ? "missing" : "unknown";
  }
}
