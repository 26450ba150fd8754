/** What a config grants, a line each: by these two configs are compared. Pure. */
import { covers } from "../base/covers.ts";
import type { Compartment, Config } from "./config.ts";

/** By the text of the line, whether a reload that adds it may have to be allowed first. */
export type PolicyLines = ReadonlyMap<string, boolean>;

/** What a config grants. Paths below its folder are as from there: a new release has another folder. */
export function policyOf(config: Config): PolicyLines {
  const lines = new Map<string, boolean>();
  const { folder } = config;
  const place = (path: string) =>
    covers(folder, path) ? `.${path.slice(folder === "/" ? 0 : folder.length)}` : path;
  const add = (isAsked: boolean, text: string) => void lines.set(text, isAsked);
  const addAll = (who: string, each: Compartment) => {
    const { unveil, net, sys = [], env, dropAfterOpen = [] } = each;
    for (const { path, rights } of unveil) {
      const until = dropAfterOpen.includes(path) ? " until open()" : "";
      for (const right of rights) add(true, `unveil ${place(path)} ${right}${until} (${who})`);
    }
    for (const host of net) add(true, `net ${host} (${who})`);
    for (const fact of sys) add(true, `sys ${fact} (${who})`);
    if (each.native) add(true, `native (${who})`);
    if (!each.jitless) add(true, `V8's compilers (${who})`);
    for (const name of env) add(false, `env ${name} (${who})`);
  };
  addAll("worker", config);
  for (const helper of config.helpers) {
    add(false, `helper ${helper.name}`);
    addAll(`helper ${helper.name}`, helper);
  }
  add(config.wall === "deno", `wall ${config.wall}`);
  add(config.onViolation === "log", `onViolation ${config.onViolation}`);
  if (config.account) add(true, `user ${config.account.user}`);
  for (const { text } of config.listen) add(false, `listen ${text}`);
  for (const proxy of config.trustedProxies) add(false, `trustedProxies ${proxy}`);
  if (config.log.folder) add(false, `log ${place(config.log.folder)}`);
  return lines;
}

/** What one grants that another does not, and whether any of it is to be asked for. */
export function widening(from: Config, to: Config): { added: string[]; isAsked: boolean } {
  const before = policyOf(from);
  const news = [...policyOf(to)].filter(([line]) => !before.has(line));
  return { added: news.map(([line]) => line), isAsked: news.some(([, isAsked]) => isAsked) };
}
