/**
 * Takes the config that a planner answered. A planner reads what strangers have written, and may have been
 * taken over by it: it says what the config's text means, and what is granted is compared with that text.
 */
import { resolve } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { acmeFiles, LETS_ENCRYPT } from "../config/acme_place.ts";
import { resolveAccount } from "../config/account.ts";
import { DEFAULT_LIMITS } from "../config/bounds.ts";
import type { Account, Compartment, Config, ListenAddress } from "../config/config.ts";
import { ConfigData } from "../config/config_data.ts";
import { freezeConfig } from "../config/freeze.ts";
import { canonicalAddress } from "../config/host_port.ts";
import { Refusal } from "../config/problem.ts";
import type { ConfigText } from "../config/runtime_place.ts";

type Values = Readonly<Record<string, unknown>>;

/**
 * Checks it and freezes it. What is left to a planner that lies: the engine, deadlines, counts and what is
 * logged, within their bounds, and the modules, which are the app's own code. It can add no path, host,
 * variable, address, account or helper, nor take a wall or a limit away.
 *
 * @param read the text that the planner was given
 * @throws {HoldfastError} if it is not what the text says
 */
export async function acceptConfig(value: unknown, read: ConfigText): Promise<Config> {
  const { success, data, error } = ConfigData.safeParse(value);
  if (!success) throw refuse(`its config has a fault at ${error.issues[0]?.path.join(".")}`);
  // A text with such a fault is never accepted.
  if (!read.certain) throw refuse("it accepts a config that has a fault");
  const [is, said] = [grantsOf(data), await grantsSaid(read)];
  for (const key of Object.keys(said) as (keyof Grants)[]) {
    if (JSON.stringify(is[key]) !== JSON.stringify(said[key])) {
      throw refuse(`its ${key} is not what ${read.file} says`);
    }
  }
  return freezeConfig(data);
}

function refuse(found: string): HoldfastError {
  return new HoldfastError(`The planner's answer is refused: ${found}`, {
    kind: "environment",
    code: "planner_failed",
    hint: "Try again; if it stays so, something that the project imports may have taken it over",
  });
}

/** What a config grants, and what holds it. */
interface Grants {
  readonly place: readonly string[];
  readonly wall: unknown;
  readonly onViolation: unknown;
  readonly listen: readonly (string | number)[][];
  readonly metrics: readonly (string | number)[] | undefined;
  readonly acme: unknown;
  readonly traces: string | undefined;
  readonly log: string | undefined;
  readonly envFile: string | undefined;
  readonly account: Account | undefined;
  readonly app: unknown;
  readonly helpers: unknown;
}

/** By a config. */
function grantsOf(config: Config): Grants {
  const { file, named, folder, runtime, account } = config;
  const own = (
    { app, unveil, env, envValues = {}, sys = [], net, limits, ...more }: Compartment,
  ) => ({
    ...{ jitless: more.jitless ?? false, dropAfterOpen: [...more.dropAfterOpen ?? []].sort() },
    ...{ tmp: more.tmp ?? false, native: more.native ?? false },
    ...{ module: app.module, env, envValues: sorted(envValues), sys, net, limits: sorted(limits) },
    unveil: unveil.map(({ path, rights }) => [path, rights]),
  });
  const address = (each: ListenAddress) => [
    each.text,
    ...each.kind === "unix" ? [each.mode] : [],
    ...(each.tls ?? []).flatMap(({ cert, key }) => [cert, key]),
    ...each.redirect ? ["redirect"] : [],
  ];
  return {
    place: [file, named, folder, runtime],
    wall: config.wall,
    onViolation: config.onViolation,
    listen: config.listen.map(address),
    metrics: config.metrics && address(config.metrics.listen),
    acme: config.acme && [
      ...[config.acme.names, config.acme.directory, config.acme.trust],
      config.acme.listen.map(address),
    ],
    traces: config.traces?.collector,
    log: config.log.folder,
    envFile: config.envFile,
    account,
    app: own(config),
    // A helper runs as the account of the config.
    helpers: config.helpers.map((each) => [each.name, own(each), each.account]),
  };
}

/** By the text of one. A value of another type than it should have comes to another grant. */
async function grantsSaid({ file, named, folder, runtime, raw }: ConfigText): Promise<Grants> {
  const place = (path: unknown) => resolve(folder, String(path));
  const limits = { ...DEFAULT_LIMITS, ...values(raw.limits) };
  const own = (
    { unveil, env, sys = [], net, ...more }: Values,
    module: unknown,
    memory: object,
  ) => ({
    ...{
      jitless: more.jitless ?? false,
      dropAfterOpen: [...new Set(list(more.dropAfterOpen).map(place))].sort(),
      ...{ tmp: more.tmp ?? false, native: more.native ?? false },
    },
    ...{ module: place(module), ...variablesSaid(env), sys },
    net: list(net).map((each) => {
      const text = String(each);
      const path = text.match(/^unix:(.*)$/is)?.[1];
      return path === undefined ? canonicalAddress(text) : `unix:${place(path)}`;
    }),
    limits: sorted({ ...limits, ...memory }),
    unveil: entries(unveil).map(([path, rights]) => [
      place(path),
      [..."rwc"].filter((right) => String(rights).includes(right)).join(""),
    ]),
  });
  const address = (each: unknown): (string | number)[] => {
    const { unix, mode = "0600", https, cert, key, certs, http, redirect } = values(each);
    const pairs = certs === undefined
      ? [cert === undefined ? acmeFiles(runtime) : { cert, key }]
      : list(certs).map(values);
    if (unix !== undefined) return [`unix:${place(unix)}`, Number.parseInt(String(mode), 8)];
    const text = String(https ?? http ?? each);
    if (text.startsWith("unix:")) return [`unix:${place(text.slice("unix:".length))}`, 0o600];
    return [
      /^systemd(:|$)/.test(text) ? text : canonicalAddress(text),
      ...https === undefined ? [] : pairs.flatMap(({ cert, key }) => [place(cert), place(key)]),
      ...redirect === undefined ? [] : ["redirect"],
    ];
  };
  const { wall = "kernel", on_violation, onViolation = on_violation ?? "replace" } = raw;
  const [metrics, traces, log] = [raw.metrics, raw.traces, raw.log].map(values);
  const account = await accountSaid(raw);
  const listen = list(raw.listen).map(address);
  const redirects = listen.filter((each) => each.includes("redirect"));
  const { names, directory = LETS_ENCRYPT, trust } = values(raw.acme);
  return {
    place: [file, named, folder, runtime],
    ...{ wall, onViolation },
    listen: raw.acme === undefined ? listen : listen.filter((each) => !redirects.includes(each)),
    acme: raw.acme && [
      list(names).map((name) => String(name).toLowerCase()),
      ...[URL.parse(String(directory))?.href, trust === undefined ? undefined : place(trust)],
      redirects,
    ],
    metrics: raw.metrics === undefined ? undefined : address(metrics!.listen),
    traces: raw.traces === undefined ? undefined : canonicalAddress(String(traces!.collector)),
    log: log!.folder === undefined ? undefined : place(log!.folder),
    envFile: raw.envFile === undefined ? undefined : place(raw.envFile),
    account,
    app: own(raw, raw.app, {}),
    helpers: entries(raw.helpers).map(([name, helper]) => {
      const { module, memoryBytes, ...more } = values(helper);
      return [name, own(more, module, memoryBytes === undefined ? {} : { memoryBytes }), account];
    }),
  };
}

/** A list of names, or an object with values, or with `true` for one that is passed on. */
function variablesSaid(env: unknown) {
  if (Array.isArray(env)) return { env, envValues: [] };
  const given = entries(env).filter(([, value]) => value !== true);
  return { env: Object.keys(values(env)), envValues: sorted(Object.fromEntries(given)) };
}

/** None for a name that nobody has: a config with such a name is not accepted. */
async function accountSaid({ user, group }: Values): Promise<Account | undefined> {
  if (user === undefined) return undefined;
  const names = [user, group].map((each) => each === undefined ? undefined : String(each));
  const found = await resolveAccount(names[0]!, names[1]);
  return found instanceof Refusal ? undefined : found;
}

function sorted(value: object): unknown[] {
  return Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1);
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function values(value: unknown): Values {
  return typeof value === "object" && value !== null ? value as Values : {};
}

function entries(value: unknown): [string, unknown][] {
  return Object.entries(values(value));
}
