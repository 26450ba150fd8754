/** Asks the running supervisor over its control socket. */
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";
import { Answer, type Ask, MAX_ANSWER_BYTES } from "../protocol/control.ts";
import { encodeFrame, FrameReader } from "../protocol/frame.ts";
import { controlSocketPath } from "../supervisor/runtime_folder.ts";

type AnswerOf<Type extends Answer["type"]> = Extract<Answer, { type: Type }>;

/**
 * Sends a request and waits for the answer, however long that takes.
 *
 * @param runtime the runtime folder
 * @throws {HoldfastError} `not_running` if nothing listens, or the connection ends without an answer
 */
export async function askSupervisor<Type extends Answer["type"]>(
  runtime: string,
  ask: Ask["type"] | Ask,
  expected: Type,
): Promise<AnswerOf<Type>> {
  const path = controlSocketPath(runtime);
  const question = typeof ask === "string" ? { type: ask } : ask;
  using connection = await connect(path);
  await writeAll(connection, encodeFrame(question));
  const answer = await readAnswer(connection);
  if (answer === undefined) throw notRunning(path, "it closed the connection without an answer");
  if (answer.type === expected) return answer as AnswerOf<Type>;
  const reason = answer.type === "refused" ? answer.reason : `it answered ${answer.type}`;
  throw new HoldfastError(`The supervisor did not ${question.type}: ${reason}`, {
    kind: "bug",
    code: "control_failed",
  });
}

async function connect(path: string): Promise<Deno.UnixConn> {
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (error) {
    // A missing permission flag says nothing of the supervisor.
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw notRunning(path, (error as Error).message);
  }
}

function notRunning(path: string, found: string): HoldfastError {
  return new HoldfastError(`No supervisor answers on ${path}: ${found}`, {
    kind: "not_running",
    code: "not_running",
    hint: "Start it with holdfast start, as the same user and with the same --config",
  });
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
}

async function readAnswer(connection: Deno.Conn): Promise<Answer | undefined> {
  const frames = new FrameReader(MAX_ANSWER_BYTES);
  const buffer = new Uint8Array(64 * 1024);
  while (true) {
    const length = await connection.read(buffer);
    if (length === null) return undefined;
    for (const value of frames.push(buffer.subarray(0, length))) return z.parse(Answer, value);
  }
}
