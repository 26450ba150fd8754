/** Lines of the access log, as Apache and nginx write them. Pure. */
import type { AccessRecord } from "../protocol/access.ts";

/** The format of the access log. */
export type AccessFormat = "common" | "combined" | "json";

/** The worker that a record came from, as the supervisor knows it. */
export interface Origin {
  readonly generation: number;
  readonly worker: number;
  readonly pid: number;
}

const MONTHS = [
  ...["Jan", "Feb", "Mar", "Apr", "May", "Jun"],
  ...["Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
];

// What is not printable ASCII, and the two marks by which a field could end before its end.
const UNSAFE = /[^\x20-\x7e]|["\\]/;
const UNSAFE_OR_SPACE = /[^\x21-\x7e]|["\\]/;

/**
 * One line of the access log, without a line end. No client can end a field or a line by
 * what it sends, or start a terminal escape.
 *
 * `common` is the Common Log Format and `combined` adds referer and user agent, both as Apache's
 * mod_log_config has them, in UTC; `json` is one object in ASCII.
 */
export function formatAccess(format: AccessFormat, record: AccessRecord, origin: Origin): string {
  if (format === "json") return formatJson(record, origin);
  const { remote, time, method, path, protocol, status, bytes } = record;
  const request = `${word(method)} ${word(path)} ${word(protocol)}`;
  const line = `${word(remote)} - - [${formatTime(time)}] "${request}" ${status ?? "-"} ${
    bytes ?? "-"
  }`;
  if (format === "common") return line;
  return `${line} "${text(record.referer)}" "${text(record.userAgent)}"`;
}

function formatJson({ time, ...record }: AccessRecord, origin: Origin): string {
  const line = JSON.stringify({ time: new Date(time).toISOString(), ...record, ...origin });
  // JSON does not escape line separators and marks that reorder text.
  return line.replace(/[\x7f-\uffff]/g, (mark) => {
    return `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

let lastSecond = -1;
let lastText = "";

/** `10/Oct/2000:13:55:36 +0000`, the time of the Common Log Format; cached for a second. */
function formatTime(timeMs: number): string {
  const second = Math.floor(timeMs / 1000);
  if (second !== lastSecond) {
    lastSecond = second;
    lastText = formatSecond(timeMs);
  }
  return lastText;
}

function formatSecond(timeMs: number): string {
  const time = new Date(timeMs);
  const two = (part: number) => String(part).padStart(2, "0");
  const day = `${two(time.getUTCDate())}/${MONTHS[time.getUTCMonth()]}/${
    String(time.getUTCFullYear()).padStart(4, "0")
  }`;
  return `${day}:${two(time.getUTCHours())}:${two(time.getUTCMinutes())}:${
    two(time.getUTCSeconds())
  } +0000`;
}

/** A field between spaces. */
function word(value: string | null): string {
  return value === null || value === "" ? "-" : escape(value, UNSAFE_OR_SPACE);
}

/** A field between quotes. */
function text(value: string | null): string {
  return value === null || value === "" ? "-" : escape(value, UNSAFE);
}

const encoder = new TextEncoder();

/** Each unsafe character as its bytes of UTF-8 in hexadecimal, as in nginx. */
function escape(value: string, unsafe: RegExp): string {
  if (!unsafe.test(value)) return value;
  return value.replace(new RegExp(unsafe, "gu"), (mark) => {
    const code = mark.charCodeAt(0);
    if (code < 0x80) return hex(code);
    return Array.from(encoder.encode(mark), hex).join("");
  });
}

function hex(byte: number): string {
  return `\\x${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
