/** What is amiss, and was told: once, and again when it is another thing. */
export class Troubles {
  readonly #told = new Map<string, string>();

  /**
   * @param what a thing that may be amiss
   * @param reason why it is; nothing where it is not
   * @param over tells that it is not any more
   */
  look(
    what: string,
    reason: string | undefined,
    tell: (reason: string) => void = () => {},
    over: () => void = () => {},
  ): void {
    if (reason === undefined) {
      if (this.#told.delete(what)) over();
    } else if (this.#told.get(what) !== reason) {
      this.#told.set(what, reason);
      tell(reason);
    }
  }
}
