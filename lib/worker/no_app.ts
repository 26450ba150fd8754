/** Stands where the app's module will, so that `worker.ts` can be checked on its own. */
export default { fetch: () => new Response("No app", { status: 500 }) };
