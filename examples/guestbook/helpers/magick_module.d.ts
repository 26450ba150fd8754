/** The compiled code, without any memory of its own: each instance of it starts blank. */
export const magick: WebAssembly.Module;
