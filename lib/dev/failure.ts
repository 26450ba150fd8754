/** Why a version does not serve, for the terminal and for pages. */
import { relative } from "node:path";
import type { ShownFailure } from "./page_server.ts";
import { frameLines, frameOf, type SourceFrame } from "./source_frame.ts";

/** What went wrong. */
export interface Failure {
  readonly message: string;
  readonly hint?: string | undefined;
  readonly frame: SourceFrame | undefined;
}

/**
 * Finds out what stands at the place that an error names.
 *
 * @param folders whose files may be shown
 */
export function failureOf(
  { message, hint }: { readonly message: string; readonly hint?: string | undefined },
  folders: readonly string[],
): Failure {
  return { message, hint, frame: frameOf(message, folders) };
}

/** A path as one would type it in a folder. */
export function shortPath(path: string, folder: string): string {
  const short = relative(folder, path);
  return short.startsWith("../..") ? path : short;
}

/** The place of an error, as editors open it. */
export function placeOf({ file, line, column }: SourceFrame, folder: string): string {
  return [shortPath(file, folder), line, ...column === undefined ? [] : [column]].join(":");
}

/** The failure as a page shows it. */
export function shownFailure(
  { message, hint, frame }: Failure,
  { folder, serves }: { readonly folder: string; readonly serves: boolean },
): ShownFailure {
  return {
    title: serves ? "The new version was refused" : "The app did not start",
    message,
    ...frame && { place: placeOf(frame, folder), frame: frameLines(frame).join("\n") },
    ...hint !== undefined && { hint },
    outlook: serves
      ? "The version before goes on serving. Save a mended file, and this goes away."
      : "Save a mended file, and the app is started again.",
  };
}
