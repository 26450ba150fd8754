// @ts-self-types="./magick_module.d.ts"
/**
 * ImageMagick as a compiled module, out of the static module graph: the process that runs it may
 * read no file and open no connection. JavaScript, since TypeScript cannot parse `import source`.
 */
import source magick from "@imagemagick/magick-wasm/magick.wasm";

export { magick };
