/** The posted form: bounded while it is read, then parsed once into what the store takes. */
import * as z from "zod";
import { MAX_SOURCE_BYTES, type RefusalReason } from "./helpers/thumbnails_contract.ts";
import { sniffPhoto } from "./photo_kind.ts";

export const MAX_NAME_CHARS = 60;
export const MAX_MESSAGE_CHARS = 1000;
export const MAX_PHOTO_BYTES = MAX_SOURCE_BYTES;
/** One MiB above the photo, for the text fields and the multipart frame. */
export const MAX_BODY_BYTES = 6 * 1024 * 1024;

/** What the visitor typed, kept so that it need not be typed twice. */
export interface Draft {
  name: string;
  message: string;
}
/** One message per field that needs another look. */
export type Problems = Partial<Record<"name" | "message" | "photo", string>>;

export interface Signing extends Draft {
  /** Untrusted bytes: only the helper finds out whether they are a picture. */
  photo?: Uint8Array<ArrayBuffer>;
}
export type ReadForm =
  | { outcome: "valid"; signing: Signing }
  | { outcome: "invalid"; status: 413 | 415 | 422; draft: Draft; problems: Problems }
  | { outcome: "unreadable"; status: 400 | 413 | 415 };

const Fields = z.object({
  name: z.string()
    .min(1, "Please tell us your name.")
    .max(MAX_NAME_CHARS, `Please keep your name within ${MAX_NAME_CHARS} characters.`),
  message: z.string()
    .min(1, "Please write a few words.")
    .max(MAX_MESSAGE_CHARS, `Please keep your message within ${MAX_MESSAGE_CHARS} characters.`),
  photo: z.file()
    .max(MAX_PHOTO_BYTES, "This photo is larger than 5 MiB. Please choose a smaller one.")
    .optional(),
});

const NOT_A_PHOTO = "This is not a JPEG, PNG, WebP, GIF or AVIF photo.";

/** What the form says where the helper makes no picture of a photo. */
export const PHOTO_REFUSALS = {
  too_many_pixels: {
    status: 413,
    text: "This photo has more than 40 megapixels, or is too long. Please choose a smaller one.",
  },
  not_a_picture: { status: 415, text: NOT_A_PHOTO },
  broken: { status: 422, text: "This photo is damaged and cannot be opened. Please try another." },
} as const satisfies Record<RefusalReason, { status: 413 | 415 | 422; text: string }>;

/** Reads and checks a posted form. A refusal is a value: it becomes a page, not an error. */
export async function readForm(request: Request): Promise<ReadForm> {
  const mediaType = request.headers.get("content-type") ?? "";
  if (!/^(?:multipart\/form-data|application\/x-www-form-urlencoded)\b/i.test(mediaType)) {
    return { outcome: "unreadable", status: 415 };
  }
  const body = await readBounded(request);
  if (body === undefined) return { outcome: "unreadable", status: 413 };
  let form: FormData;
  try {
    form = await new Response(body, { headers: { "content-type": mediaType } }).formData();
  } catch {
    return { outcome: "unreadable", status: 400 };
  }
  return await checkFields(form);
}

async function readBounded(request: Request): Promise<Blob | undefined> {
  if (Number(request.headers.get("content-length")) > MAX_BODY_BYTES) return undefined;
  // Content-Length may be missing or wrong, so only what arrives counts.
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let sizeBytes = 0;
  for await (const chunk of request.body ?? []) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return new Blob(chunks);
}

async function checkFields(form: FormData): Promise<ReadForm> {
  const draft = {
    name: cleanText(form.get("name")).replace(/\s+/g, " "),
    message: cleanText(form.get("message")),
  };
  const upload = form.get("photo");
  // An empty file input is posted as a file without bytes.
  const photo = upload instanceof File && upload.size > 0 ? upload : undefined;
  const parsed = Fields.safeParse({ ...draft, photo });
  if (!parsed.success) {
    const problems = firstProblems(parsed.error);
    const isTextFine = problems.name === undefined && problems.message === undefined;
    if (photo !== undefined) problems.photo ??= "Please choose your photo again.";
    return { outcome: "invalid", status: isTextFine ? 413 : 422, draft, problems };
  }
  if (photo === undefined) return { outcome: "valid", signing: draft };

  const bytes = new Uint8Array(await photo.arrayBuffer());
  // The cheap look comes first: what no helper would take does not go to one.
  if (sniffPhoto(bytes) !== undefined) {
    return { outcome: "valid", signing: { ...draft, photo: bytes } };
  }
  return { outcome: "invalid", status: 415, draft, problems: { photo: NOT_A_PHOTO } };
}

function cleanText(value: FormDataEntryValue | null): string {
  if (typeof value !== "string") return "";
  // A browser counts a line break as one character but posts two, so the limit needs this first.
  // deno-lint-ignore no-control-regex
  return value.replace(/\r\n?/g, "\n").replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "").trim();
}

function firstProblems(error: z.ZodError<z.infer<typeof Fields>>): Problems {
  const { fieldErrors } = z.flattenError(error);
  const problems: Problems = {};
  for (const field of ["name", "message", "photo"] as const) {
    const first = fieldErrors[field]?.[0];
    if (first !== undefined) problems[field] = first;
  }
  return problems;
}
