/** Attempts made inside a Web Worker, which has an engine and permissions of its own. */

/** What a Web Worker answers. */
interface Answer {
  readonly value?: unknown;
  readonly error?: { readonly name: string; readonly code: string; readonly message: string };
}

/**
 * Runs a function in a Web Worker. Only its text gets there: it must not use anything from around it.
 *
 * @throws what it threw, with its name and code
 */
export async function inWebWorker<T>(task: (input: T) => unknown, input: T): Promise<unknown> {
  const source = `self.onmessage = async ({ data }) => {
    try {
      postMessage({ value: await (${task})(data) });
    } catch (error) {
      const { name, code, message } = error;
      postMessage({ error: { name: String(name), code: String(code ?? ""), message: String(message) } });
    }
  };`;
  return await answerOf(`data:text/javascript,${encodeURIComponent(source)}`, input);
}

/** Starts a Web Worker from a module, and returns the `value` of its first message. */
export async function answerOf(module: string, input?: unknown): Promise<unknown> {
  const worker = new Worker(module, { type: "module" });
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(event.message));
  };
  worker.postMessage(input);
  try {
    const { value, error } = await promise;
    if (error === undefined) return value;
    throw Object.assign(new Error(error.message), { name: error.name, code: error.code });
  } finally {
    worker.terminate();
  }
}
