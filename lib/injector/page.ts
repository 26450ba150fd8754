/** Which answers are pages, and what is added to one. */
import type { DevelopmentPage } from "../protocol/development.ts";
import { allowPage } from "./content_security.ts";

/** What a browser says that it wants a page for (Fetch Metadata); other clients do not say. */
const DESTINATIONS = ["document", "iframe", "frame", "embed", "object"];

/** Answers without a body, and parts of one. */
const NO_PAGES = [101, 204, 205, 206, 304];

/** Headers that describe the bytes of the body. */
const OF_BODY = [
  ...["content-length", "content-encoding", "content-md5", "content-digest", "repr-digest"],
  ...["digest", "etag", "last-modified", "accept-ranges"],
];

const POLICIES = ["content-security-policy", "content-security-policy-report-only"];

/** The headers of an answer, on either engine. */
export interface HeaderAccess {
  get(name: string): string | null;
  set(name: string, value: string): void;
  delete(name: string): void;
}

/**
 * Whether a request is for a page, and not for a part of one that a script asks for.
 *
 * @param destination its header Sec-Fetch-Dest
 */
export function wantsPage(method: string, destination: string | null | undefined): boolean {
  if (method === "HEAD") return false;
  return destination === null || destination === undefined || DESTINATIONS.includes(destination);
}

/** Whether an answer is a page that something can be added to. */
export function isPage(status: number, type: string | null | undefined): boolean {
  if (NO_PAGES.includes(status)) return false;
  // No tag is read in an encoding that is not ASCII's.
  return /^\s*text\/html\s*(;|$)/i.test(type ?? "") &&
    !/charset\s*=\s*"?utf-?(16|32)/i.test(type ?? "");
}

/** The codings of a body, in the order in which they were applied; none for a plain one. */
export function codingsOf(header: string | null | undefined): string[] {
  return (header ?? "").toLowerCase().split(",").map((each) => each.trim())
    .filter((each) => each !== "" && each !== "identity");
}

/** Tells of the worker that answered: it is older than a version that came later. */
const BORN_MS = Math.round(performance.timeOrigin);

/**
 * Changes the headers for a body that is longer, and that no cache keeps.
 *
 * @returns what is added to the body
 */
export function addTo(headers: HeaderAccess, method: string, page: DevelopmentPage): string {
  for (const name of OF_BODY) headers.delete(name);
  headers.set("cache-control", "no-store");
  let nonce: string | undefined;
  for (const name of POLICIES) {
    const policy = headers.get(name);
    if (policy === null || policy.trim() === "") continue;
    const allowed = allowPage(policy, page, () => nonce ?? crypto.randomUUID());
    nonce ??= allowed.nonce;
    headers.set(name, allowed.policy);
  }
  const attributes = [
    ...[`src="${page.script}"`, `data-born="${BORN_MS}"`, `data-method="${method}"`],
    ...nonce === undefined ? [] : [`nonce="${nonce}"`],
  ];
  return `\n<script async ${attributes.join(" ")}></script>\n`;
}
