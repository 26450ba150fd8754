/** The account at an authority: a key, by which each request is signed (RFC 8555, 6.2). */
import * as z from "zod/mini";

const KEY = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNING = { name: "ECDSA", hash: "SHA-256" } as const;

/** As it is kept in a file. */
export const StoredAccount = z.strictObject({
  /** Of the authority that it is for. */
  directory: z.string(),
  /** By which the authority knows it, when it does. */
  url: z.nullable(z.string()),
  key: z.object({
    kty: z.literal("EC"),
    crv: z.literal("P-256"),
    x: z.string(),
    y: z.string(),
    d: z.string(),
  }),
});
export type StoredAccount = z.infer<typeof StoredAccount>;

/** A new one, of which no authority knows yet. */
export async function createAccount(directory: string): Promise<StoredAccount> {
  const { privateKey } = await crypto.subtle.generateKey(KEY, true, ["sign", "verify"]);
  const { kty, crv, x, y, d } = await crypto.subtle.exportKey("jwk", privateKey);
  return StoredAccount.parse({ directory, url: null, key: { kty, crv, x, y, d } });
}

export function base64url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** The public half, in the order in which it is hashed (RFC 7638). */
function publicKey({ key: { crv, kty, x, y } }: StoredAccount) {
  return { crv, kty, x, y };
}

/** What is to be answered to a challenge (RFC 8555, 8.1). */
export async function keyAuthorization(account: StoredAccount, token: string): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(publicKey(account)));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `${token}.${base64url(digest)}`;
}

/**
 * Signs a request.
 *
 * @param payload nothing for a question, whose payload is empty
 */
export async function sign(
  account: StoredAccount,
  { url, nonce, payload }: {
    readonly url: string;
    readonly nonce: string;
    readonly payload: unknown;
  },
): Promise<string> {
  const who = account.url === null ? { jwk: publicKey(account) } : { kid: account.url };
  const encode = (value: unknown) =>
    base64url(new TextEncoder().encode(value === undefined ? "" : JSON.stringify(value)));
  const head = encode({ alg: "ES256", nonce, url, ...who });
  const body = encode(payload);
  const jwk = { ...account.key, ext: true };
  const key = await crypto.subtle.importKey("jwk", jwk, KEY, false, ["sign"]);
  const data = new TextEncoder().encode(`${head}.${body}`);
  const signature = base64url(new Uint8Array(await crypto.subtle.sign(SIGNING, key, data)));
  return JSON.stringify({ protected: head, payload: body, signature });
}
