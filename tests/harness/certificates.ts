/** Certificates of a test's own, by openssl. */
import { join } from "node:path";

/** A certificate with its chain, and its private key; both in PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** An authority that clients may trust. */
export class Authority implements AsyncDisposable {
  readonly #folder: string;
  /** Its own certificate, in PEM. */
  readonly cert: string;
  #issued = 0;

  private constructor(folder: string, cert: string) {
    this.#folder = folder;
    this.cert = cert;
  }

  static async create(name = "holdfast test authority"): Promise<Authority> {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_ca_" });
    const [key, cert] = [join(folder, "ca.key"), join(folder, "ca.crt")];
    await openssl(
      "req",
      "-x509",
      ...newKey("ec", key),
      "-out",
      cert,
      "-days",
      "90",
      "-subj",
      `/CN=${name}`,
    );
    return new Authority(folder, await Deno.readTextFile(cert));
  }

  /** Issues one for localhost and 127.0.0.1, and for more names. */
  async issue(kind: "ec" | "rsa" = "ec", ...names: string[]): Promise<Pair> {
    const path = (ending: string) => join(this.#folder, `${this.#issued}.${ending}`);
    this.#issued++;
    const all = ["DNS:localhost", "IP:127.0.0.1", ...names.map((name) => `DNS:${name}`)];
    await Deno.writeTextFile(path("ext"), `subjectAltName=${all.join(",")}`);
    await openssl(
      "req",
      ...newKey(kind, path("key")),
      "-out",
      path("csr"),
      "-subj",
      "/CN=localhost",
    );
    await openssl(
      ...[
        "x509",
        "-req",
        "-in",
        path("csr"),
        "-out",
        path("crt"),
        "-days",
        "90",
        "-CAcreateserial",
      ],
      ...["-CA", join(this.#folder, "ca.crt"), "-CAkey", join(this.#folder, "ca.key")],
      ...["-extfile", path("ext")],
    );
    const [own, key] = await Promise.all(
      [path("crt"), path("key")].map((each) => Deno.readTextFile(each)),
    );
    return { cert: own! + this.cert, key: key! };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

function newKey(kind: "ec" | "rsa", path: string): string[] {
  const bits = kind === "ec"
    ? ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    : ["-newkey", "rsa:2048"];
  return [...bits, "-nodes", "-keyout", path];
}

async function openssl(...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command("openssl", { args, stdin: "null" }).output();
  if (code !== 0) throw new Error(`openssl ${args[0]}: ${new TextDecoder().decode(stderr)}`);
}
