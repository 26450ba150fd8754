/** A REST service of tasks: what comes in is judged by a schema, and kept in SQLite. */
import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import * as z from "zod";
import { openStore, type Store } from "./store.ts";

const NewTask = z.strictObject({ title: z.string().trim().min(1).max(200) });
const Change = z.strictObject({ done: z.boolean() });
const Id = z.coerce.number().int().positive();

let store: Store;

/** Awaited before the first request. */
export function open(): void {
  store = openStore("data/tasks.db");
}

/** Awaited after the last one. */
export function close(): void {
  store.close();
}

const app = new Hono();

app.onError((error, c) => {
  if (error instanceof z.ZodError) return c.json({ error: z.prettifyError(error) }, 422);
  if (error instanceof HTTPException) return c.json({ error: error.message }, error.status);
  throw error;
});

async function bodyOf(request: { json(): Promise<unknown> }): Promise<unknown> {
  return await request.json().catch(() => {
    throw new HTTPException(400, { message: "The body is not JSON" });
  });
}

function found<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new HTTPException(404, { message: "There is no such task" });
  return value;
}

app.get("/tasks", (c) => c.json(store.list()));

app.post("/tasks", async (c) => {
  const { title } = NewTask.parse(await bodyOf(c.req));
  const task = store.add(title);
  return c.json(task, 201, { location: `/tasks/${task.id}` });
});

app.get("/tasks/:id", (c) => c.json(found(store.get(Id.parse(c.req.param("id"))))));

app.patch("/tasks/:id", async (c) => {
  const { done } = Change.parse(await bodyOf(c.req));
  return c.json(found(store.setDone(Id.parse(c.req.param("id")), done)));
});

app.delete("/tasks/:id", (c) => {
  found(store.remove(Id.parse(c.req.param("id"))));
  return c.body(null, 204);
});

export default app;
