/**
 * Imported by helper modules (`defineHelper`) and apps (`helper`). It has no dependencies, since it
 * resolves by the app's own settings, and only finds what Holdfast put into the process before the app was
 * loaded.
 */

/** A schema of any library that follows Standard Schema (https://standardschema.dev), zod among them. */
export interface Schema<Input = unknown, Output = Input> {
  /** What Standard Schema asks of it. */
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** The result of a schema. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** A schema of whatever values. */
// deno-lint-ignore no-explicit-any
export type AnySchema = Schema<any, any>;
/** What a schema takes. */
export type Given<S extends AnySchema> = NonNullable<S["~standard"]["types"]>["input"];
/** What a schema makes of it. */
export type Parsed<S extends AnySchema> = NonNullable<S["~standard"]["types"]>["output"];

/** What a method gets besides its input. */
export interface CallContext {
  /** Aborts when the caller cancels, or its deadline is over: stop then. */
  readonly signal: AbortSignal;
}

/** One method of a helper. */
export interface Method<Input extends AnySchema, Output extends AnySchema> {
  /** Checks what callers send, before `handle` sees it. */
  readonly input: Input;
  /** Checks what `handle` returns, before a caller sees it. */
  readonly output: Output;
  /**
   * `"safe"`: doing it twice does no harm, so a call whose helper died is made once more.
   *
   * @default "never"
   */
  readonly retry?: "safe" | "never";
  /** Does the job. An error reaches the caller as a message, never as a stack. */
  handle(input: Parsed<Input>, context: CallContext): Given<Output> | Promise<Given<Output>>;
}

/** The methods of a helper, by name. */
// deno-lint-ignore no-explicit-any
export type Methods = Readonly<Record<string, Method<any, any>>>;

/**
 * Defines a helper: export the result as the module's default. The module runs in a separate process, with
 * only the permissions of its config entry.
 *
 * Inputs and outputs may hold whatever JSON can, `Uint8Array`s and `ReadableStream<Uint8Array>`s.
 *
 * ```ts
 * import * as z from "zod";
 * import { defineHelper } from "holdfast/helper";
 *
 * export default defineHelper({
 *   sum: {
 *     input: z.array(z.number()),
 *     output: z.number(),
 *     retry: "safe",
 *     handle: (numbers) => numbers.reduce((sum, each) => sum + each, 0),
 *   },
 * });
 * ```
 */
export function defineHelper<
  Inputs extends Record<string, AnySchema>,
  Outputs extends Record<keyof Inputs, AnySchema>,
>(
  methods: { readonly [Name in keyof Inputs]: Method<Inputs[Name], Outputs[Name]> },
): { readonly [Name in keyof Inputs]: Method<Inputs[Name], Outputs[Name]> } {
  return methods;
}

/** Options of a call. */
export interface CallOptions {
  /** Cancels the call. */
  readonly signal?: AbortSignal;
  /** The timeout in milliseconds; at most the helper's `timeoutMs` in the config. */
  readonly timeoutMs?: number;
}

/** A helper as an app calls it. */
export type Client<Helper extends Methods> = {
  readonly [Name in keyof Helper]: (
    input: Given<Helper[Name]["input"]>,
    options?: CallOptions,
  ) => Promise<Parsed<Helper[Name]["output"]>>;
};

/** Schemas that check answers in the app's own process: a helper that was taken over may answer anything. */
export type Contract<Helper extends Methods> = {
  readonly [Name in keyof Helper]?: { readonly output: Helper[Name]["output"] };
};

/** Why a call failed. */
export type HelperErrorCode =
  /** The config has no helper of that name, or it has no such method. */
  | "helper_unknown"
  /** No instance was running until the deadline. */
  | "helper_unavailable"
  /** Too many calls wait already. */
  | "helper_busy"
  /** Its process died while the call was in flight. */
  | "helper_lost"
  /** The deadline was over. */
  | "helper_timeout"
  /** Its schema refused the input, or the input cannot be sent. */
  | "helper_bad_input"
  /** The helper's schema, or the caller's contract, refused the answer. */
  | "helper_bad_output"
  /** Its method threw; the message is the error's. */
  | "helper_failed";

/** Errors that pass by themselves: a 503, and the client may try again. */
const PASSING: readonly HelperErrorCode[] = [
  "helper_unavailable",
  "helper_busy",
  "helper_lost",
  "helper_timeout",
];

const RETRY_AFTER_SECONDS = 1;

// The class exists twice in a worker: in Holdfast's own program and in what the app imports.
const BRAND = Symbol.for("holdfast.HelperError");

/**
 * A call that failed. Hono's own error handler answers with {@link HelperError.getResponse}, and so does
 * Holdfast if an app does not catch it.
 */
export class HelperError extends Error {
  /** Why the call failed. */
  readonly code: HelperErrorCode;
  /** The name of the helper. */
  readonly helper: string;
  /** By which an error of another copy of this module is known. */
  readonly [BRAND] = true;

  /** Makes one; helpers and their callers do. */
  constructor(code: HelperErrorCode, helper: string, message: string) {
    super(message);
    this.name = "HelperError";
    this.code = code;
    this.helper = helper;
  }

  /** Whether the same call may succeed a moment later. */
  get passing(): boolean {
    return PASSING.includes(this.code);
  }

  /** 503 with `Retry-After` if the error passes by itself (RFC 9110, 15.6.4), else 500; without details. */
  getResponse(): Response {
    if (!this.passing) return new Response("Internal Server Error\n", { status: 500 });
    return new Response("Service Unavailable\n", {
      status: 503,
      headers: { "retry-after": String(RETRY_AFTER_SECONDS) },
    });
  }

  /** Whether a value is one, of whichever copy of this module. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === "object" && value !== null && BRAND in value;
  }
}

/** Where Holdfast's own program puts the maker that {@link helper} uses. */
export const CLIENTS: unique symbol = Symbol.for("holdfast.helpers") as never;

/** Makes the client of a helper. */
export type ClientMaker = (name: string, contract: Contract<Methods>) => Client<Methods>;

/**
 * The client of a helper that the config has, to be called in an app's worker.
 *
 * ```ts ignore
 * import type thumbnails from "./helpers/thumbnails.ts";
 *
 * const small = await helper<typeof thumbnails>("thumbnails").resize({ photo, width: 320 });
 * ```
 *
 * @param name its key below `helpers` in the config
 * @param contract checks the answers, for an app that does not trust its helper
 * @throws {HelperError} `helper_unknown` if the config has none of that name
 */
export function helper<Helper extends Methods>(
  name: string,
  contract: Contract<Helper> = {},
): Client<Helper> {
  const make = (globalThis as { [CLIENTS]?: ClientMaker })[CLIENTS];
  if (make === undefined) {
    throw new HelperError(
      "helper_unknown",
      name,
      "There are helpers in a worker of Holdfast alone",
    );
  }
  return make(name, contract as Contract<Methods>) as Client<Helper>;
}
