/** The few static files, read once at start. No path from a request ever reaches the disk. */

const MEDIA_TYPES = {
  "app.js": "text/javascript; charset=utf-8",
  "style.css": "text/css; charset=utf-8",
  "favicon.svg": "image/svg+xml",
} as const;
export type AssetName = keyof typeof MEDIA_TYPES;

export interface Asset {
  bytes: Uint8Array<ArrayBuffer>;
  mediaType: string;
  /** Changes with the content, so that the address changes and caches never serve a stale file. */
  version: string;
}
export type Assets = ReadonlyMap<string, Asset>;

export async function loadAssets(folder: string): Promise<Assets> {
  const assets = new Map<string, Asset>();
  for (const [name, mediaType] of Object.entries(MEDIA_TYPES)) {
    const bytes = await Deno.readFile(`${folder}/${name}`);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    assets.set(name, { bytes, mediaType, version: digest.toHex().slice(0, 16) });
  }
  return assets;
}

/** The address of a static file for use in a page. */
export function assetPath(assets: Assets, name: AssetName): string {
  return `/public/${name}?v=${assets.get(name)?.version ?? ""}`;
}

/** Answers a request for a static file. */
export function serveAsset(asset: Asset, request: Request): Response {
  const etag = `"${asset.version}"`;
  const asked = new URL(request.url).searchParams.get("v");
  const headers = new Headers({
    "Content-Type": asset.mediaType,
    "ETag": etag,
    // During a reload a page of the new generation can ask the old one for a file. It gets the
    // old content, and that must not be kept for a year under the new version's address.
    "Cache-Control": asked === asset.version
      ? "public, max-age=31536000, immutable"
      : "public, no-cache",
  });
  const isKnown = request.headers.get("if-none-match") === etag;
  return isKnown
    ? new Response(null, { status: 304, headers })
    : new Response(asset.bytes, { headers });
}
