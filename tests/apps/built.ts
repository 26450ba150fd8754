/** Apps that a framework builds, as its own commands do it. */
import type { AppCase } from "../harness/apps.ts";

const STATIC = "from a file\n";

const SVELTE = {
  "svelte.config.js": `import adapter from "@sveltejs/adapter-node";
export default { kit: { adapter: adapter() } };
`,
  "vite.config.js": `import { sveltekit } from "@sveltejs/kit/vite";
import { defineConfig } from "vite";
export default defineConfig({ plugins: [sveltekit()] });
`,
  "src/app.html":
    `<!doctype html><html><head>%sveltekit.head%</head><body>%sveltekit.body%</body></html>
`,
  "src/routes/+page.server.js": `import { env } from "$env/dynamic/private";
export const load = ({ getClientAddress }) => ({ from: getClientAddress(), mode: env.NODE_ENV });
`,
  "src/routes/+page.svelte": `<script>let { data } = $props();</script>
<p>hello {data.from} {data.mode}</p>
`,
  "src/routes/api/+server.js": `import { json } from "@sveltejs/kit";
export const GET = () => json({ hello: "world" });
`,
  "static/robots.txt": STATIC,
};

const ASTRO = {
  "src/pages/index.astro": `---
const from = Astro.clientAddress;
---
<html><body><p>hello {from}</p></body></html>
`,
  "src/pages/api.js": `export const GET = () => Response.json({ hello: "world" });
`,
  "public/robots.txt": STATIC,
};

const astroConfig = (mode: string) =>
  `import node from "@astrojs/node";
import { defineConfig } from "astro/config";
export default defineConfig({ output: "server", adapter: node({ mode: "${mode}" }) });
`;

const ASTRO_PACKAGES = { "@astrojs/node": "9.5.5", astro: "5.9.4" };

const NITRO = {
  "nitro.config.ts": `export default defineNitroConfig({ compatibilityDate: "2026-01-01" });
`,
  "routes/index.ts": `export default eventHandler((event) => "hello " + getMethod(event));
`,
  "routes/api/hello.ts":
    `export default eventHandler(async () => ({ hello: await useStorage().getItem("x") ?? "world" }));
`,
  "public/robots.txt": STATIC,
};

const nitro = (preset: string): AppCase => ({
  config: { app: "./.output/server/index.mjs", unveil: { "./.output/public": "r" } },
  manifest: {
    ...{ name: "nitro", private: true, type: "module" },
    scripts: { build: `nitropack build --preset ${preset}` },
    devDependencies: { nitropack: "2.13.6" },
  },
  files: NITRO,
  build: ["install", "task build"],
  answer: /^hello GET$/,
  also: { "/api/hello": /"hello":"world"/, "/robots.txt": /^from a file/ },
});

const honox = (runtime: string): AppCase => ({
  config: { app: "./dist/index.js", unveil: { "./dist": "r" } },
  manifest: {
    ...{ name: "honox", private: true, type: "module" },
    scripts: { build: "vite build --mode client && vite build" },
    dependencies: { "@hono/node-server": "2.1.9", hono: "4.13.19" },
    devDependencies: { "@hono/vite-build": "1.11.1", honox: "0.1.61", vite: "7.3.8" },
  },
  files: {
    "vite.config.ts": `import build from "@hono/vite-build/${runtime}";
import honox from "honox/vite";
import client from "honox/vite/client";
import { defineConfig } from "vite";
export default defineConfig(({ mode }) =>
  mode === "client" ? { plugins: [client()] } : { plugins: [honox(), build({ staticRoot: "./dist" })] }
);
`,
    "tsconfig.json": JSON.stringify({
      compilerOptions: {
        ...{ target: "ESNext", module: "ESNext", moduleResolution: "Bundler", strict: true },
        ...{ types: ["vite/client"], jsx: "react-jsx", jsxImportSource: "hono/jsx" },
      },
    }),
    "app/client.ts": `import { createClient } from "honox/client";
createClient();
`,
    "app/server.ts": `import { createApp } from "honox/server";
export default createApp();
`,
    "app/routes/index.tsx": `import { createRoute } from "honox/factory";
import Counter from "../islands/counter";
export default createRoute((c) => c.render(<main><p>hello</p><Counter /></main>));
`,
    "app/routes/_renderer.tsx": `import { jsxRenderer } from "hono/jsx-renderer";
export default jsxRenderer(({ children }) => <html><body>{children}</body></html>);
`,
    "app/islands/counter.tsx": `import { useState } from "hono/jsx";
export default function Counter() {
  const [n, set] = useState(0);
  return <button onClick={() => set(n + 1)}>{n}</button>;
}
`,
    "public/robots.txt": STATIC,
  },
  build: ["install", "task build"],
  answer: /<p>hello<\/p>/,
  also: { "/robots.txt": /^from a file/ },
});

const KIT_PACKAGES = {
  "@sveltejs/adapter-node": "5.5.7",
  "@sveltejs/kit": "2.70.4",
  "@sveltejs/vite-plugin-svelte": "6.2.4",
  svelte: "5.57.3",
  vite: "7.3.8",
};

/** By what they are. */
export const BUILT: Readonly<Record<string, AppCase>> = {
  "SvelteKit 2 with adapter-node": {
    config: { app: "./build/index.js", unveil: { "./build/client": "r" } },
    manifest: {
      ...{ name: "kit", private: true, type: "module", scripts: { build: "vite build" } },
      devDependencies: KIT_PACKAGES,
    },
    files: SVELTE,
    build: ["install", "task build"],
    answer: /<p>hello 127\.0\.0\.1 production<\/p>/,
    also: { "/api": /"hello":"world"/, "/robots.txt": /^from a file/ },
  },
  "SvelteKit's handler in an Express app": {
    config: { app: "./server.js", unveil: { "./build/client": "r" } },
    manifest: {
      ...{ name: "kit", private: true, type: "module", scripts: { build: "vite build" } },
      dependencies: { express: "5.3.0" },
      devDependencies: KIT_PACKAGES,
    },
    files: {
      ...SVELTE,
      "server.js": `import express from "express";
import { handler } from "./build/handler.js";
const app = express();
app.get("/health", (request, response) => response.end("ok"));
app.use(handler);
app.listen(3000);
`,
    },
    build: ["install", "task build"],
    answer: /<p>hello 127\.0\.0\.1 production<\/p>/,
    also: { "/health": /^ok$/, "/robots.txt": /^from a file/ },
  },
  "Astro on @astrojs/node, by itself": {
    config: { app: "./dist/server/entry.mjs", unveil: { "./dist/client": "r" } },
    manifest: {
      ...{ name: "astro", private: true, type: "module", scripts: { build: "astro build" } },
      dependencies: ASTRO_PACKAGES,
    },
    files: { ...ASTRO, "astro.config.mjs": astroConfig("standalone") },
    build: ["install", "task build"],
    answer: /<p>hello 127\.0\.0\.1<\/p>/,
    also: { "/api": /"hello":"world"/, "/robots.txt": /^from a file/ },
  },
  "Astro on @astrojs/node, as middleware of Express": {
    config: { app: "./server.mjs", unveil: { "./dist/client": "r" } },
    manifest: {
      ...{ name: "astro", private: true, type: "module", scripts: { build: "astro build" } },
      dependencies: { ...ASTRO_PACKAGES, express: "5.3.0" },
    },
    files: {
      ...ASTRO,
      "astro.config.mjs": astroConfig("middleware"),
      "server.mjs": `import express from "express";
import { handler } from "./dist/server/entry.mjs";
const app = express();
app.use(express.static("dist/client/"));
app.use(handler);
app.listen(8080);
`,
    },
    build: ["install", "task build"],
    answer: /<p>hello 127\.0\.0\.1<\/p>/,
    also: { "/api": /"hello":"world"/, "/robots.txt": /^from a file/ },
  },
  "Nitro, deno_server": nitro("deno_server"),
  "Nitro, node_server": nitro("node_server"),
  "HonoX, built for Deno": honox("deno"),
  "HonoX, built for Node": honox("node"),
  "React Router on Hono, by react-router-hono-server": {
    config: { app: "./build/server/index.js", unveil: { "./build/client": "r" } },
    manifest: {
      ...{
        name: "router",
        private: true,
        type: "module",
        scripts: { build: "react-router build" },
      },
      dependencies: {
        "@hono/node-server": "1.19.14",
        "@react-router/node": "7.18.4",
        hono: "4.13.19",
        isbot: "5.2.3",
        react: "19.3.1",
        "react-dom": "19.3.1",
        "react-router": "7.18.7",
        "react-router-hono-server": "2.26.0",
      },
      devDependencies: { "@react-router/dev": "7.18.4", vite: "7.3.8" },
    },
    files: {
      "vite.config.js": `import { reactRouter } from "@react-router/dev/vite";
import { reactRouterHonoServer } from "react-router-hono-server/dev";
import { defineConfig } from "vite";
export default defineConfig({ plugins: [reactRouterHonoServer(), reactRouter()] });
`,
      "app/server.ts": `import { createHonoServer } from "react-router-hono-server/node";
export default await createHonoServer();
`,
      "app/root.tsx": `import { Outlet, Scripts } from "react-router";
export default function Root() {
  return <html><head></head><body><Outlet /><Scripts /></body></html>;
}
`,
      "app/routes.ts": `import { index } from "@react-router/dev/routes";
export default [index("routes/home.tsx")];
`,
      "app/routes/home.tsx": `export const loader = () => ({ word: "hello" });
export default function Home({ loaderData }) {
  return <p>{loaderData.word}</p>;
}
`,
      "public/robots.txt": STATIC,
    },
    build: ["install", "task build"],
    answer: /<p>hello<\/p>/,
    also: { "/robots.txt": /^from a file/ },
  },
  "NestJS's starter, built by tsc": {
    config: { app: "./dist/main.js" },
    manifest: {
      ...{ name: "nest", private: true, scripts: { build: "tsc" } },
      dependencies: {
        "@nestjs/common": "11.1.9",
        "@nestjs/core": "11.1.9",
        "@nestjs/platform-express": "11.1.9",
        "reflect-metadata": "0.2.2",
        rxjs: "7.8.2",
      },
      devDependencies: { typescript: "5.9.3", "@types/node": "24.10.1" },
    },
    files: {
      "tsconfig.json": JSON.stringify({
        compilerOptions: {
          ...{ module: "commonjs", target: "ES2023", outDir: "./dist", rootDir: "./src" },
          ...{ emitDecoratorMetadata: true, experimentalDecorators: true, skipLibCheck: true },
        },
        include: ["src"],
      }),
      "src/main.ts": `import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module';
async function bootstrap() {
  const app = await NestFactory.create(AppModule);
  await app.listen(process.env.PORT ?? 3000);
}
bootstrap();
`,
      "src/app.module.ts": `import { Module } from '@nestjs/common';
import { AppController } from './app.controller';
import { AppService } from './app.service';
@Module({ controllers: [AppController], providers: [AppService] })
export class AppModule {}
`,
      "src/app.controller.ts": `import { Controller, Get } from '@nestjs/common';
import { AppService } from './app.service';
@Controller()
export class AppController {
  constructor(private readonly appService: AppService) {}
  @Get()
  getHello(): string {
    return this.appService.getHello();
  }
}
`,
      "src/app.service.ts": `import { Injectable } from '@nestjs/common';
@Injectable()
export class AppService {
  getHello(): string {
    return 'hello';
  }
}
`,
    },
    build: ["install", "task build"],
  },
};
