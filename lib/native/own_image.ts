/** How a process of an executable takes the image that it is to run. */
import { installImage } from "../child/module_image.ts";
import { APP_SPECIFIER } from "../protocol/module_image.ts";
import type { NativeContext } from "./enter.ts";

/**
 * Takes the image; the app's files and packages are in this program.
 *
 * @param role whose packages it is to find
 */
export function takeOwnImage({ facts }: NativeContext, role: string): void {
  const packages = facts.packages[role];
  installImage({
    files: new URL("./app/", import.meta.url).href,
    packagesFrom: packages === undefined ? undefined : new URL(packages, import.meta.url).href,
  });
}

/** Imports the app, or the helper's module, from the image. */
export function loadApp(): Promise<Record<string, unknown>> {
  return import(APP_SPECIFIER);
}
