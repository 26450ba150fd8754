/**
 * Functions of node:fs that write a file and then set its mode, which the kernel's wall refuses: a mode that
 * others may write, or that runs as its owner, is nothing for an app to set. Who opens the file with its mode
 * needs no more, and so it is in Node.
 */
import fs from "node:fs";
import { type Method, replace } from "./replace.ts";

const USUAL_MODE = 0o666;

/** With which flag each of them opens a file, if nothing else is said. */
const FLAGS = { writeFile: "w", appendFile: "a" } as const;

interface WriteOptions {
  readonly mode?: number | string;
  readonly flag?: string;
  readonly encoding?: string;
}

/** Has them open files with their modes. */
export function openWithModes(): void {
  const { open, openSync, close, closeSync, writeFile, writeFileSync } = fs;
  for (const [name, flag] of Object.entries(FLAGS)) {
    wrap(name, (original, self, all) => {
      const done = all.at(-1);
      const opened = optionsOf(name, flag, all[0], all.length > 3 ? all[2] : undefined);
      if (opened === undefined || typeof done !== "function") {
        return Reflect.apply(original, self, all);
      }
      open(all[0] as string, opened.flag, opened.mode, (error, fd) => {
        if (error) return done(error);
        writeFile(fd, all[1] as string, opened.rest, (error) => {
          close(fd, (closing) => done(error ?? closing ?? null));
        });
      });
    });
    wrap(`${name}Sync`, (original, self, all) => {
      const opened = optionsOf(name, flag, all[0], all[2]);
      if (opened === undefined) return Reflect.apply(original, self, all);
      const fd = openSync(all[0] as string, opened.flag, opened.mode);
      try {
        writeFileSync(fd, all[1] as string, opened.rest);
      } finally {
        closeSync(fd);
      }
    });
  }
}

function wrap(name: string, act: (original: Method, self: unknown, all: unknown[]) => unknown) {
  const original = (fs as unknown as Record<string, Method>)[name]!;
  replace(fs, name, function (...all) {
    return act(original, this, all);
  });
}

/** How a file is to be opened; nothing where no mode would be set, or where it is open. */
function optionsOf(name: string, usual: string, path: unknown, given: unknown) {
  const options: WriteOptions = typeof given === "string"
    ? { encoding: given }
    : given as WriteOptions ?? {};
  const { mode, flag = usual, ...rest } = options;
  if (typeof path === "number" || name === "writeFile" && mode === undefined) return undefined;
  return { flag, mode: mode ?? USUAL_MODE, rest: rest as { encoding?: BufferEncoding } };
}
