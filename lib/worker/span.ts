/** Spans of a worker's start and drain. */
import process from "node:process";

type Attributes = Readonly<Record<string, string | number>>;

/**
 * Begins a span of this worker, a root by itself: what happens at a reload is seen beside the requests.
 * Only where the runtime was started to trace.
 *
 * @param step what the worker does, such as `drain`; the span is called `holdfast.drain`
 * @returns ends the span, with what came of it
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

/** Under a name of our own: what OpenTelemetry means by a name is its own. */
function named(attributes: Attributes): Record<string, string | number> {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [`holdfast.${name}`, value]),
  );
}
