/** Which of several certificates a client gets, by the name that it asks for (SNI). */

/** How many names that no certificate has get the first one. Others are refused: each is kept. */
const MAX_UNKNOWN = 1_000;

/** What the runtime keeps of a name besides the name and the certificate, in bytes. */
const NAME_BYTES = 300;

export class ServerNames {
  /** By a name; one with a wildcard without its `*`. The values are indexes. */
  readonly #known = new Map<string, number>();
  #unknown = 0;

  /** @param lists the DNS names of each certificate; of several with a name the first has it */
  constructor(lists: readonly (readonly string[])[]) {
    for (const [index, list] of lists.entries()) {
      for (const name of list) {
        const key = name.startsWith("*.") ? name.slice(1) : name;
        if (!this.#known.has(key)) this.#known.set(key, index);
      }
    }
  }

  /**
   * The index of the certificate for a name; to be asked once for each. An exact name goes before a wildcard,
   * which stands for one label.
   *
   * @param name empty where a client asks for none
   * @returns nothing if too many names were asked for that nobody has
   */
  find(name: string): number | undefined {
    const lower = name.toLowerCase();
    const dot = lower.indexOf(".");
    const found = this.#known.get(lower) ??
      (dot > 0 ? this.#known.get(lower.slice(dot)) : undefined);
    if (found !== undefined || name === "") return found ?? 0;
    return this.#unknown++ < MAX_UNKNOWN ? 0 : undefined;
  }
}

/** What the runtime keeps for ever of names that clients have asked for. */
export class KeptNames {
  #bytes = 0;

  /** @param kept what it keeps of the certificate, if it got one */
  add(name: string, kept: number): void {
    this.#bytes += NAME_BYTES + name.length + kept;
  }

  /** None where there are no several certificates. */
  figures(): { readonly serverNameBytes?: number } {
    return this.#bytes === 0 ? {} : { serverNameBytes: this.#bytes };
  }
}
