/** The places in a stack that an operator knows: those of the app, and of its packages. */
import { fileURLToPath } from "node:url";
import { IMAGE } from "./report.ts";

/** Where in the app's code something was done, and by which package. */
export interface Where {
  /** `/srv/app/main.ts:12:18` */
  readonly from?: string;
  /** The package whose code did it, if it was not the app's own. */
  readonly package?: string;
}

/** Finds it: the innermost place of the app's own, and the package that is further in. */
export function whereIn(stack: string | undefined): Where {
  const urls = (stack ?? "").split("\n").flatMap((line) => {
    const [, url] = /^\s+at .*?(file:\/\/\/[^\s()]+:\d+:\d+)\)?$/.exec(line) ?? [];
    return url === undefined || url.includes("$deno$stdin") ? [] : [url];
  });
  const own = urls.find((url) => packageIn(url) === undefined) ?? urls[0];
  const name = urls[0] && packageIn(urls[0]);
  return {
    ...own !== undefined && { from: pathOf(own) },
    ...name !== undefined && { package: name },
  };
}

/** The function of the runtime by which something was tried, the innermost one: `mkdirSync`. */
export function operationIn(stack: string | undefined): string | undefined {
  return /^\s+at (?:async )?(?:new )?(?:[\w#]+\.)*(\w+) \(ext:(?!core)/m.exec(stack ?? "")?.[1];
}

/** The package that a file is of, by the folder that it lies in. */
export function packageIn(url: string): string | undefined {
  // A place that is told begins with the folder of packages.
  const path = `/${decodeURI(url)}`;
  const installed = path.lastIndexOf("/node_modules/");
  if (installed >= 0) {
    return /^(@[^/]+\/)?[^/]+/.exec(path.slice(installed + "/node_modules/".length))?.[0];
  }
  // DENO_DIR/npm/HOST/NAME/VERSION/...
  const [, name, version] = /\/npm\/[^/]+\/((?:@[^/]+\/)?[^/]+)\/(\d[^/]*)\//.exec(path) ?? [];
  return name === undefined ? undefined : `${name}@${version}`;
}

function pathOf(url: string): string {
  const [, file, place] = /^(.*?)(:\d+:\d+)$/.exec(url)!;
  try {
    return fileURLToPath(file!).replace(IMAGE, "") + place;
  } catch {
    return url;
  }
}

/** More than between a function of the runtime and the app's code that called it, through packages. */
const DEEP = 60;

/** Gives an error the stack of now, with more places than the runtime keeps by itself. */
export function withDeepStack<Given extends Error>(error: Given, from?: CallableFunction): Given {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = DEEP;
  Error.captureStackTrace(error, from as never);
  // It is written down when it is asked for.
  void error.stack;
  Error.stackTraceLimit = stackTraceLimit;
  return error;
}
