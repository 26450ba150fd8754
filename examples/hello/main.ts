/** The smallest app: it is granted nothing, and needs nothing. */
import { Hono } from "hono";

const app = new Hono();

app.get("/", (c) => c.text("Hello"));

export default app;
