/** The four ways in which every attempt is made. */

/** Which layers hold the subject. */
export interface Mode {
  readonly name: "neither" | "deno" | "kernel" | "both";
  readonly title: string;
  readonly deno: boolean;
  readonly kernel: boolean;
}

export const MODES: readonly Mode[] = [
  // First of all: an attempt that does not work without any wall proves nothing about one.
  { name: "neither", title: "no wall", deno: false, kernel: false },
  { name: "deno", title: "Deno alone", deno: true, kernel: false },
  { name: "kernel", title: "kernel alone", deno: false, kernel: true },
  { name: "both", title: "both", deno: true, kernel: true },
];
