/** What reads bytes that strangers choose, and what of it must hold for any of them. */
import { parseConfig } from "../../lib/config/load.ts";
import { ConfigError } from "../../lib/config/problem.ts";
import { CallFrameReader } from "../../lib/protocol/call.ts";
import { Violation } from "../../lib/protocol/violation.ts";
import { WorkerPeer } from "../../lib/protocol/worker_peer.ts";
import { parseProxyHeader } from "../../lib/worker/proxy_header.ts";
import { cutAtRandom } from "../doubles/random.ts";

export interface Target {
  readonly name: string;
  /** Bytes that mean something there: what is grammar, and what is a limit. */
  readonly words: readonly (string | readonly number[])[];
  /** Throws if something does not hold. */
  run(bytes: Uint8Array, random: () => number): void;
}

/** Runs it; an error of this kind is an answer. */
function allowing(kind: new (...all: never[]) => Error, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof kind)) throw error;
  }
}

function hold(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** By the name of the folder of its corpus. */
export const TARGETS: readonly Target[] = [
  {
    name: "proxy_header",
    words: ["PROXY ", "TCP4 ", "UNKNOWN", "\r\n", "::", "65536", [0x21, 0x11], [255, 255], [0]],
    run(bytes) {
      const parsed = parseProxyHeader(bytes);
      if (parsed.kind === "partial") {
        hold(parsed.least > bytes.length, "it wants what it has");
        hold(parsed.least <= 4_112, "it wants more than any header has");
      }
      if (parsed.kind === "whole") {
        hold(parsed.length <= bytes.length, "it is longer than what came");
        // What follows changes nothing, and without its last byte it is not whole.
        const part = parseProxyHeader(bytes.subarray(0, parsed.length));
        hold(JSON.stringify(part) === JSON.stringify(parsed), "it depends on what follows");
        const less = parseProxyHeader(bytes.subarray(0, parsed.length - 1));
        hold(less.kind === "partial", "it is whole before its end");
      }
    },
  },
  {
    name: "config",
    words: [
      "{",
      "}",
      "[",
      "]",
      '"',
      ":",
      ",",
      "//",
      "/*",
      "__proto__",
      "1e999",
      "null",
      "unix:",
      "\\u0000",
    ],
    run(bytes) {
      allowing(ConfigError, () => parseConfig(new TextDecoder().decode(bytes), "fuzz.jsonc"));
    },
  },
  {
    name: "channel_frames",
    words: [[0, 0, 0, 0], [0, 0, 0, 2], [255, 255, 255, 255], "{}", '"type"', "__proto__", "1e999"],
    run(bytes, random) {
      allowing(Violation, () => {
        const peer = new WorkerPeer(() => 0);
        for (const piece of cutAtRandom(random, bytes, 32)) Array.from(peer.receive(piece));
      });
    },
  },
  {
    name: "call_frames",
    words: [[0, 0, 0, 0], [255, 255, 255, 255], [0, 0, 0, 1, 1], [127], "{}"],
    run(bytes, random) {
      allowing(Violation, () => {
        const reader = new CallFrameReader();
        for (const piece of cutAtRandom(random, bytes, 32)) Array.from(reader.push(piece));
      });
    },
  },
];
