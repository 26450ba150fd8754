/** What goes wrong between this process and an authority, and what an operator can do about it. */

/** How a failed attempt is tried again. */
export interface Failure {
  readonly reason: string;
  readonly hint: string;
  /** Whether the authority itself has refused: it counts such attempts. */
  readonly refused: boolean;
  /** How long it asks to be left alone, in milliseconds. */
  readonly retryAfterMs: number;
}

/** The authority cannot be reached, refuses, or answers what makes no sense. */
export class AcmeError extends Error implements Failure {
  readonly reason: string;
  readonly hint: string;
  readonly refused: boolean;
  readonly retryAfterMs: number;
  /** The type of the authority's problem, without its prefix. */
  readonly type: string;

  constructor(
    reason: string,
    { hint = "", type = "", refused = type !== "", retryAfterMs = 0 }:
      & Partial<Omit<Failure, "reason">>
      & { readonly type?: string } = {},
  ) {
    super(reason);
    this.name = "AcmeError";
    this.reason = reason;
    this.type = type;
    this.hint = hint || (HINTS[type] ?? "");
    this.refused = refused;
    this.retryAfterMs = retryAfterMs;
  }
}

const REACHABLE =
  "the name's A and AAAA records must lead to this machine, and its port 80 must be " +
  "reached from the internet: see its firewall, and that of whoever runs the network";

/** By the types of RFC 8555, 6.7. */
const HINTS: Readonly<Record<string, string>> = {
  accountDoesNotExist: "A new account is made at the next try",
  badCSR: "Leave out of acme.names what it does not like",
  badRevocationStatus: "Nothing to do here: see the authority's status page",
  caa: "A CAA record of the name forbids this authority: add it there, or choose another directory",
  connection: `The authority does not reach the name: ${REACHABLE}`,
  dns:
    "Make A or AAAA records for the name that lead to this machine; see that its name servers answer",
  externalAccountRequired:
    "This authority wants an account made beforehand, which is not supported: " +
    "set acme.directory to another one",
  incorrectResponse: `Somebody else answers for the name: ${REACHABLE}`,
  invalidContact: "Correct acme.email",
  malformed: "Set acme.directory to the URL of the authority's ACME directory",
  rateLimited:
    "Too many certificates or failed tries lately; it goes on by itself. Try things out " +
    "with the authority's staging directory",
  rejectedIdentifier: "The authority does not issue for this name: see acme.names",
  serverInternal: "Nothing to do here: see the authority's status page",
  tls: `The authority does not reach the name: ${REACHABLE}`,
  unauthorized: `Somebody else answers for the name: ${REACHABLE}`,
  unsupportedContact: "Correct acme.email",
  unsupportedIdentifier: "The authority does not issue for this name: see acme.names",
  userActionRequired: "The authority has new terms: see its website",
};

const MINUTE_MS = 60_000;
const FIRST_MS = { refused: 5 * MINUTE_MS, failed: 10_000 } as const;
const LONGEST_MS = 6 * 60 * MINUTE_MS;
const FACTOR = 3;

/** No authority is waited for longer, whatever it says. */
const LONGEST_ASKED_MS = 24 * 60 * MINUTE_MS;

/**
 * How long to wait before the next try, in milliseconds. Authorities allow few failed tries an hour.
 *
 * @param tries how many have failed in a row, 1 for the first
 * @param random from 0 to 1
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const down = { reason: "", hint: "", refused: false, retryAfterMs: 0 };
 * assertEquals([1, 2, 3, 20].map((tries) => retryMs(down, tries, 0)), [10_000, 30_000, 90_000, 21_600_000]);
 * assertEquals(retryMs({ ...down, retryAfterMs: 60_000 }, 1, 0), 60_000);
 * ```
 */
export function retryMs(
  { refused, retryAfterMs }: Failure,
  tries: number,
  random: number,
): number {
  const first = refused && retryAfterMs === 0 ? FIRST_MS.refused : FIRST_MS.failed;
  const grown = Math.min(LONGEST_MS, first * FACTOR ** Math.min(tries - 1, 32));
  const asked = Math.min(LONGEST_ASKED_MS, retryAfterMs);
  return Math.round(Math.max(grown, asked) * (1 + random / 5));
}

/** A renewal is due when two thirds of the life are over, and a little later for some. */
export function renewalAt(
  { notBefore, notAfter }: { readonly notBefore: number; readonly notAfter: number },
  random: number,
): number {
  const life = notAfter - notBefore;
  return notBefore + life * 2 / 3 + random * life / 60;
}

/** From then on an operator is to know that it ends: 14 days of a life of 90. */
export function alarmAt(
  { notBefore, notAfter }: { readonly notBefore: number; readonly notAfter: number },
): number {
  return notAfter - Math.min(14 * 86_400_000, (notAfter - notBefore) * 14 / 90);
}
