/** The app of the bench over TLS; run by itself, a bare `Deno.serve` with it: PORT CERT KEY. */
const LARGE = new Uint8Array(100 * 1024).fill(120);

function fetch(request: Request): Response {
  return new Response(request.url.endsWith("/large") ? LARGE : "Hello");
}

export default { fetch };

if (import.meta.main) {
  const [port, cert, key] = Deno.args;
  Deno.serve({
    hostname: "127.0.0.1",
    port: Number(port),
    cert: Deno.readTextFileSync(cert!),
    key: Deno.readTextFileSync(key!),
    handler: fetch,
  });
}
