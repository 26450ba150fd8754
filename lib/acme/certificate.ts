/** Keys of certificates, the requests for these, and one that the process signs itself. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import {
  bits,
  type Der,
  element,
  integer,
  octets,
  oid,
  pem,
  sequence,
  set,
  text,
  time,
} from "./der.ts";

const KEY = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNING = { name: "ECDSA", hash: "SHA-256" } as const;

/** ecdsa-with-SHA256 (RFC 5758). */
const ALGORITHM = sequence(oid("1.2.840.10045.4.3.2"));
const COMMON_NAME = oid("2.5.4.3");
const EXTENSION_REQUEST = oid("1.2.840.113549.1.9.14");
const ALTERNATIVE_NAMES = oid("2.5.29.17");

/** Of what is named by context: [0], [2] and [3] (RFC 2986, RFC 5280). */
const CONTEXT = { constructed: 0xa0, dnsName: 0x82 } as const;

/** The first BEGIN to its END. */
const BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/;

/** How long one that was signed here counts, in milliseconds. */
const SELF_SIGNED_MS = 10 * 365 * 86_400_000;

/** Clocks differ. */
const EARLY_MS = 86_400_000;

/** A new private key, in PEM, and what it signs. */
export class CertificateKey {
  readonly #pair: CryptoKeyPair;

  private constructor(pair: CryptoKeyPair) {
    this.#pair = pair;
  }

  static async create(): Promise<CertificateKey> {
    return new CertificateKey(await crypto.subtle.generateKey(KEY, true, ["sign", "verify"]));
  }

  async pem(): Promise<string> {
    const der = await crypto.subtle.exportKey("pkcs8", this.#pair.privateKey);
    return pem("PRIVATE KEY", new Uint8Array(der));
  }

  /** A request for these names (RFC 2986). */
  async request(names: readonly string[]): Promise<Der> {
    const wanted = sequence(EXTENSION_REQUEST, set(sequence(alternatives(names))));
    const info = sequence(
      integer(Uint8Array.of(0)),
      sequence(),
      await this.#publicKey(),
      element(CONTEXT.constructed, wanted),
    );
    return await this.#signed(info);
  }

  /** A certificate, in PEM, that nobody but this key vouches for. */
  async selfSigned(names: readonly string[]): Promise<string> {
    const name = sequence(set(sequence(COMMON_NAME, text("Holdfast, until one is issued"))));
    const now = Date.now();
    const info = sequence(
      element(CONTEXT.constructed, integer(Uint8Array.of(2))),
      integer(crypto.getRandomValues(new Uint8Array(16))),
      ALGORITHM,
      name,
      sequence(time(new Date(now - EARLY_MS)), time(new Date(now + SELF_SIGNED_MS))),
      name,
      await this.#publicKey(),
      element(CONTEXT.constructed | 3, sequence(alternatives(names))),
    );
    return pem("CERTIFICATE", await this.#signed(info));
  }

  async #publicKey(): Promise<Uint8Array> {
    return new Uint8Array(await crypto.subtle.exportKey("spki", this.#pair.publicKey));
  }

  async #signed(info: Der): Promise<Der> {
    const raw = new Uint8Array(await crypto.subtle.sign(SIGNING, this.#pair.privateKey, info));
    const half = raw.length / 2;
    const signature = sequence(integer(raw.subarray(0, half)), integer(raw.subarray(half)));
    return sequence(info, ALGORITHM, bits(signature));
  }
}

function alternatives(names: readonly string[]): Der {
  const each = names.map((name) => element(CONTEXT.dnsName, new TextEncoder().encode(name)));
  return sequence(ALTERNATIVE_NAMES, octets(sequence(...each)));
}

/** What is to be known of a certificate with its key. */
export interface CertificateFacts {
  readonly notBefore: number;
  /** In milliseconds since 1970, as the one above. */
  readonly notAfter: number;
  readonly selfSigned: boolean;
  /** Those of the names that it is not for. */
  readonly missing: readonly string[];
}

/**
 * Judges a certificate with its chain.
 *
 * @throws {Error} if it is none of this key
 */
export function judge(chain: string, key: string, names: readonly string[]): CertificateFacts {
  const own = BLOCK.exec(chain)?.[0];
  if (own === undefined) throw new Error("there is no certificate in it");
  const certificate = new X509Certificate(own);
  if (!certificate.checkPrivateKey(createPrivateKey(key))) {
    throw new Error("it is not the certificate of this key");
  }
  const found = (certificate.subjectAltName ?? "").toLowerCase().split(", ");
  return {
    notBefore: Date.parse(certificate.validFrom),
    notAfter: Date.parse(certificate.validTo),
    selfSigned: certificate.subject === certificate.issuer,
    missing: names.filter((name) => !found.includes(`dns:${name}`)),
  };
}
