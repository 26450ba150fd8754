/** Spans of a worker's start and drain. */
import process from "node:process";

type Attributes = Readonly<Record<string, string | number>>;

/**
 * Begins a root span of this worker, so that a reload shows beside the requests. Only if the runtime was
 * started with tracing.
 *
 * @param step what the worker does, such as `drain`; the span is called `holdfast.drain`
 * @returns a function that ends the span, with its result
 * @throws {Error} if the runtime was not started to trace
 */
export function beginSpan(step: string, attributes: Attributes = {}): (more?: Attributes) => void {
  const tracer = Deno.telemetry.tracerProvider.getTracer("holdfast");
  const span = tracer.startSpan(`holdfast.${step}`, {
    root: true,
    attributes: { ...named(attributes), "process.pid": process.pid },
  });
  return (more = {}) => {
    span.setAttributes(named(more));
    span.end();
  };
}

/** Attributes have our own prefix, apart from OpenTelemetry's names. */
function named(attributes: Attributes): Record<string, string | number> {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [`holdfast.${name}`, value]),
  );
}
