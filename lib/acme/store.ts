/** What is kept in the folder of this process: the account, and a certificate with its key. */
import { dirname, join } from "node:path";
import * as z from "zod/mini";
import { StoredAccount } from "./account.ts";
import { type CertificateFacts, CertificateKey, judge } from "./certificate.ts";

/** Says where the certificate is from. */
const Source = z.strictObject({ directory: z.string() });

/** The key is the last in the file: whoever looks for a certificate finds that first. */
const KEY = /-----BEGIN PRIVATE KEY-----/;

export interface StoreOptions {
  /** The file of certificate and key; the others lie beside it. */
  readonly certificate: string;
  readonly directory: string;
  readonly names: readonly string[];
}

export class Store {
  readonly #options: StoreOptions;
  readonly #account: string;
  readonly #source: string;

  constructor(options: StoreOptions) {
    const folder = dirname(options.certificate);
    this.#options = options;
    this.#account = join(folder, "account.json");
    this.#source = join(folder, "issued.json");
  }

  /**
   * Sees to it that there is a certificate which can be used, if only one that this process signs itself.
   *
   * @throws {Error} if the folder cannot be written
   */
  async prepare(): Promise<CertificateFacts> {
    const { certificate, names } = this.#options;
    const found = await readText(certificate);
    const facts = found === undefined ? undefined : this.#judge(found);
    if (facts && !(facts.selfSigned && facts.missing.length > 0)) return facts;
    const key = await CertificateKey.create();
    return await this.keep(await key.selfSigned(names), await key.pem());
  }

  #judge(found: string): CertificateFacts | undefined {
    try {
      const at = found.search(KEY);
      return judge(found.slice(0, at), found.slice(at), this.#options.names);
    } catch {
      return undefined;
    }
  }

  /** Whether the certificate is from the authority of the config. */
  async isCurrent(): Promise<boolean> {
    const found = parse(Source, await readText(this.#source));
    return found?.directory === this.#options.directory;
  }

  /**
   * Puts a certificate and its key in the place of those before, both at once.
   *
   * @throws {Error} if they do not fit, or it is not for all of the names
   */
  async keep(chain: string, key: string): Promise<CertificateFacts> {
    const { certificate, directory, names } = this.#options;
    const facts = judge(chain, key, names);
    if (facts.missing.length > 0) throw new Error(`it is not for ${facts.missing.join(", ")}`);
    await write(certificate, `${chain.trimEnd()}\n${key}`);
    if (!facts.selfSigned) await write(this.#source, JSON.stringify({ directory }));
    return facts;
  }

  /** The account at this authority, if there is one. */
  async readAccount(): Promise<StoredAccount | undefined> {
    const found = parse(StoredAccount, await readText(this.#account));
    return found?.directory === this.#options.directory ? found : undefined;
  }

  async keepAccount(account: StoredAccount): Promise<void> {
    await write(this.#account, JSON.stringify(account));
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** What is no longer whole counts as gone. */
function parse<Kind extends z.ZodMiniType>(schema: Kind, text: string | undefined) {
  try {
    return z.parse(schema, JSON.parse(text ?? ""));
  } catch {
    return undefined;
  }
}

/** A file that is there is whole, also after a power failure. */
async function write(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  await Deno.writeTextFile(fresh, text, { mode: 0o600 });
  using file = await Deno.open(fresh);
  await file.syncData();
  await Deno.rename(fresh, path);
}
