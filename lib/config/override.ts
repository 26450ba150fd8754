/**
 * The keys that may still change when an app and its config are one executable: how it listens, logs and
 * is limited. What it may access is decided by the build. Pure.
 */
import { resolve } from "node:path";
import type { Override, RefusedKey } from "./parse.ts";
import { Refusal } from "./problem.ts";

/**
 * A file whose keys replace those of a config.
 *
 * @param state where its relative paths start
 */
export function overrideOf(file: string, text: string, state: string): Override {
  return { file, text, refusedKeys, laidOver: (config, own) => laidOver(config, own, state) };
}

/** Keys that replace those of the config; of an object, key by key. */
export const OVERRIDABLE = [
  "listen",
  "workers",
  "spare",
  "trustedProxies",
  "clientAddressHeader",
  "log",
  "limits",
  "reload",
  "recycle",
  "watchdog",
  "user",
  "group",
] as const;

const MERGED = ["log", "limits", "reload", "recycle", "watchdog"];

/** The keys of an override that are refused, whatever their values. */
export function refusedKeys(override: unknown, config: unknown): RefusedKey[] {
  if (!isRecord(override)) return [];
  const refuse = (key: string, message: string, hint: string): RefusedKey => ({
    ...new Refusal("override_refused", message, hint),
    key: [key],
  });
  return Object.keys(override).flatMap((key) => {
    if (key === "$schema") return [];
    if (!(OVERRIDABLE as readonly string[]).includes(key)) {
      return refuse(
        key,
        `"${key}" is built into this program, since it decides what it may do`,
        `leave it out, or build again; these keys may change: ${OVERRIDABLE.join(", ")}`,
      );
    }
    // A build without a user has a private cache folder, which no other user may enter.
    if ((key === "user" || key === "group") && !(isRecord(config) && "user" in config)) {
      return refuse(
        key,
        `"${key}" needs a program that was built with a "user"`,
        'build it with "user" in its config; the name may be another one here',
      );
    }
    return [];
  });
}

/** A config's values, replaced by those of an override. */
export function laidOver(config: unknown, override: unknown, state: string): unknown {
  // The schema refuses what is not an object.
  if (!isRecord(config) || !isRecord(override)) return isRecord(override) ? config : override;
  const values: Record<string, unknown> = { ...config };
  for (const [key, value] of Object.entries(override)) {
    if (key === "$schema") continue;
    const over = key === "listen" ? placeListen(value, state) : placeFolder(value, state);
    values[key] = MERGED.includes(key) && isRecord(over) && isRecord(values[key])
      ? { ...values[key], ...over }
      : over;
  }
  return values;
}

function placeListen(value: unknown, state: string): unknown {
  if (!Array.isArray(value)) return value;
  const place = (address: unknown) => {
    if (!isRecord(address)) return address;
    const placed = ["unix", "cert", "key"].filter((key) => typeof address[key] === "string");
    return {
      ...address,
      ...Object.fromEntries(placed.map((key) => [key, resolve(state, `${address[key]}`)])),
    };
  };
  return value.map((address: unknown) => {
    if (typeof address === "string") {
      return address.replace(/^unix:(?!\/)(.+)$/, (_, path) => `unix:${resolve(state, path)}`);
    }
    if (!isRecord(address) || !Array.isArray(address.certs)) return place(address);
    return place({ ...address, certs: address.certs.map(place) });
  });
}

function placeFolder(value: unknown, state: string): unknown {
  if (!isRecord(value) || typeof value.folder !== "string" || value.folder === "") return value;
  return { ...value, folder: resolve(state, value.folder) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
