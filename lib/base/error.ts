import type { ExitName } from "./exit_code.ts";

/** What a {@link HoldfastError} carries besides its message. */
export interface ErrorFacts {
  /** Where the fault is; it decides the exit status. */
  kind: Exclude<ExitName, "ok">;
  /** Stable name for logs and tests, in snake_case. */
  code: string;
  /** What the operator can do about it. */
  hint?: string;
  cause?: unknown;
}

/**
 * An error that an operator reads: the message says what was tried and what was found, the hint
 * says what to do. Only `kind: "bug"` is printed with a stack.
 */
export class HoldfastError extends Error {
  readonly kind: ErrorFacts["kind"];
  readonly code: string;
  readonly hint: string | undefined;

  constructor(message: string, facts: ErrorFacts) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = "HoldfastError";
    this.kind = facts.kind;
    this.code = facts.code;
    this.hint = facts.hint;
  }
}

/** Turns anything thrown into a {@link HoldfastError}; an unexpected error is a bug. */
export function toHoldfastError(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new HoldfastError(message, { kind: "bug", code: "unexpected", cause: error });
}
