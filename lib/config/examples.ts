/** Without `cert` and `key` the first has the certificate of acme, which is asked at the second. */
const ACME_LISTEN =
  '"listen": [{ "https": "0.0.0.0:443" }, { "http": "0.0.0.0:80", "redirect": "https" }]';

/** An example of every key, as it stands in a config: the manual shows it, and a test parses it. */
export const EXAMPLES: Readonly<Record<string, string>> = {
  $schema: '"$schema": "./docs/holdfast.schema.json"',
  app: '"app": "./src/main.ts"',
  listen: '"listen": ["127.0.0.1:8000", "unix:/run/app.sock"]',
  "listen[].unix": '"listen": [{ "unix": "/run/app.sock" }]',
  "listen[].proxyProtocol": '"listen": [{ "unix": "/run/app.sock", "proxyProtocol": true }]',
  "listen[].mode": '"listen": [{ "unix": "/run/app.sock", "mode": "0660" }]',
  "listen[].https":
    '"listen": [{ "https": "0.0.0.0:443", "cert": "./fullchain.pem", "key": "./key.pem" }]',
  "listen[].cert":
    '"listen": [{ "https": "systemd:https", "cert": "/etc/letsencrypt/live/example.com/fullchain.pem", "key": "/etc/letsencrypt/live/example.com/privkey.pem" }]',
  "listen[].key":
    '"listen": [{ "https": "[::]:443", "cert": "./fullchain.pem", "key": "./key.pem" }]',
  "listen[].certs":
    '"listen": [{ "https": "0.0.0.0:443", "certs": [{ "cert": "./a.example.pem", "key": "./a.example.key" }, { "cert": "./b.example.pem", "key": "./b.example.key" }] }]',
  "listen[].http":
    '"listen": [{ "https": "0.0.0.0:443", "cert": "./fullchain.pem", "key": "./key.pem" }, { "http": "0.0.0.0:80", "redirect": "https" }]',
  "listen[].redirect":
    '"listen": [{ "https": "0.0.0.0:8443", "cert": "./fullchain.pem", "key": "./key.pem" }, { "http": "0.0.0.0:8080", "redirect": "https" }]',
  unveil: '"unveil": { "./data/": "rwc", "./public": "r" }',
  env: '"env": { "DATABASE_URL": true, "LOG_LEVEL": "info" }',
  sys: '"sys": ["hostname"]',
  tmp: '"tmp": true',
  envFile: '"env": ["DATABASE_URL"], "envFile": "./.env"',
  dropAfterOpen: '"unveil": { "./key.pem": "r" }, "dropAfterOpen": ["./key.pem"]',
  jitless: '"jitless": true',
  net: '"net": ["db.internal:5432", "unix:/run/postgresql/.s.PGSQL.5432"]',
  workers: '"workers": "auto"',
  spare: '"spare": 1',
  helpers: '"helpers": { "thumbnails": { "module": "./helpers/thumbnails.ts" } }',
  ...helperExamples({
    module: '"./helpers/mail.ts"',
    unveil: '{ "./templates": "r" }',
    env: '["SMTP_PASSWORD"]',
    sys: '["hostname"]',
    dropAfterOpen: '["./templates"], "unveil": { "./templates": "r" }',
    jitless: "true",
    tmp: "true",
    native: "true",
    net: '["mail.example.com:587"]',
    instances: "2",
    concurrency: "1",
    timeoutMs: "60000",
    memoryBytes: "536870912",
    restart: '"never"',
  }),
  ...Object.fromEntries(
    Object.entries({
      acme: '{ "names": ["example.com"] }',
      "acme.names": '{ "names": ["example.com", "www.example.com"] }',
      "acme.email": '{ "names": ["example.com"], "email": "admin@example.com" }',
      "acme.directory":
        '{ "names": ["example.com"], "directory": "https://acme-staging-v02.api.letsencrypt.org/directory" }',
      "acme.trust":
        '{ "names": ["app.internal"], "directory": "https://ca.internal/acme/acme/directory", "trust": "./root.pem" }',
    }).map(([key, value]) => [key, `${ACME_LISTEN}, "acme": ${value}`]),
  ),
  engine: '"engine": "node"',
  wall: '"wall": "deno"',
  onViolation: '"onViolation": "log"',
  name: '"name": "guestbook"',
  ...examplesOf("limits", {
    descriptors: "4096",
    processes: "256",
    fileBytes: "1073741824",
    memoryBytes: "1073741824",
  }),
  ...examplesOf("http", {
    headerTimeoutMs: "10000",
    bodyTimeoutMs: "30000",
    sendTimeoutMs: "120000",
    minBytesPerSecond: "1000",
    keepAliveTimeoutMs: "620000",
    webSocketIdleTimeoutMs: "3600000",
    maxBodyBytes: "10485760",
    maxRequestsPerConnection: "10000",
    maxConnections: "20000",
    maxConnectionsPerAddress: "200",
    maxRequests: "500",
    maxPenaltyMs: "600000",
    penaltyExempt: '["10.0.0.0/8", "192.0.2.0/24"]',
  }),
  ...examplesOf("reload", {
    readyDeadlineMs: "30000",
    idleGraceMs: "10000",
    drainDeadlineMs: "60000",
    shutdownDelayMs: "7000",
    maxDraining: "2",
    spreadMs: "20000",
    webSockets: '"keep"',
    keepDeadlineMs: "3600000",
    maxKept: "4",
    keep: "10",
    probe: '["/healthz", { "path": "/", "status": [200, 302], "times": 3 }]',
    widen: '"ask"',
    warmUp: '["/", "/list"]',
  }),
  ...Object.fromEntries(
    Object.entries({
      path: '{ "path": "/list?page=1" }',
      status: '{ "path": "/", "status": [200, 302] }',
      timeoutMs: '{ "path": "/report", "timeoutMs": 5000 }',
      times: '{ "path": "/healthz", "times": 3 }',
      headers: '{ "path": "/", "headers": { "host": "www.example.com" } }',
    }).map(([key, probe]) => [`reload.probe[].${key}`, `"reload": { "probe": [${probe}] }`]),
  ),
  "reload.shutdownDelayMs": '"readiness": "/ready", "reload": { "shutdownDelayMs": 7000 }',
  ...examplesOf("recycle", {
    maxRequests: "100000",
    maxAgeMs: "86400000",
    maxMemoryBytes: "536870912",
  }),
  ...examplesOf("watchdog", { pulseDeadlineMs: "20000" }),
  trustedProxies: '"trustedProxies": ["10.0.0.0/8", "unix"]',
  clientAddressHeader: '"trustedProxies": ["10.0.0.0/8"], "clientAddressHeader": "forwarded"',
  readiness: '"readiness": "/ready"',
  ...examplesOf("log", {
    folder: '"./log"',
    access: '"json"',
    rotateBytes: "10485760",
    rotateHours: "0",
    keep: "30",
    compress: "false",
    outputLineBytes: "4096",
    outputBytesPerSecond: "1048576",
    outputBurstBytes: "2097152",
  }),
  metrics: '"metrics": { "listen": "127.0.0.1:9464" }',
  "metrics.listen": '"metrics": { "listen": "unix:/run/app-metrics.sock" }',
  traces: '"traces": { "collector": "127.0.0.1:4318", "service": "guestbook" }',
  "traces.collector": '"traces": { "collector": "[::1]:4318", "service": "guestbook" }',
  "traces.service": '"traces": { "collector": "127.0.0.1:4318", "service": "shop-frontend" }',
  user: '"user": "www-data"',
  group: '"user": "www-data", "group": "app-data"',
  runtime: '"runtime": "/run/app"',
};

/** Examples of an object: of the first of its keys, and of each. */
function examplesOf(name: string, values: Readonly<Record<string, string>>) {
  const examples = Object.entries(values).map(([key, value]): [string, string] => [
    `${name}.${key}`,
    `"${name}": { "${key}": ${value} }`,
  ]);
  return { [name]: examples[0]![1], ...Object.fromEntries(examples) };
}

function helperExamples({ module, ...values }: Readonly<Record<string, string>>) {
  const start = `"helpers": { "mail": { "module": ${module}`;
  return Object.fromEntries([
    ["helpers.NAME.module", `${start} } }`],
    ...Object.entries(values).map(([key, value]) => [
      `helpers.NAME.${key}`,
      `${start}, "${key}": ${value} } }`,
    ]),
  ]);
}
