import { createServer, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { z } from "zod";

const value = z.object({
  stringValue: z.string().optional(),
  intValue: z.unknown().optional(),
  doubleValue: z.unknown().optional(),
});
const attributes = z.array(z.object({ key: z.string(), value })).default([]);
const span = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  name: z.string(),
  attributes,
  links: z.array(z.object({ traceId: z.string(), spanId: z.string() })).default([]),
  status: z.object({ code: z.number().default(0) }).default({ code: 0 }),
});
const point = z.object({
  attributes,
  asDouble: z.number().optional(),
  count: z.unknown().optional(),
  bucketCounts: z.array(z.unknown()).optional(),
});
const points = z.object({ dataPoints: z.array(point) }).optional();
const metric = z.object({ name: z.string(), gauge: points, sum: points, histogram: points });
const metrics = z.object({
  resourceMetrics: z.array(z.object({ scopeMetrics: z.array(z.object({ metrics: z.array(metric) })) })),
});
const traces = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes }),
      scopeSpans: z.array(z.object({ spans: z.array(span) })),
    }),
  ),
});

/** A span as it was sent. */
export interface ReceivedSpan extends Omit<z.infer<typeof span>, "attributes"> {
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly service: unknown;
}

/** A metric as it was sent. */
export type ReceivedMetric = z.infer<typeof metric>;

/** What takes the place of an OpenTelemetry collector. */
export interface OtlpReceiver {
  readonly url: string;
  /** All spans that came as JSON. */
  readonly spans: ReceivedSpan[];
  /** All metrics that came as JSON; the same ones again and again. */
  readonly metrics: ReceivedMetric[];
  /** All bodies as they came. */
  readonly bodies: {
    readonly path: string;
    readonly type: string | undefined;
    readonly headers: IncomingHttpHeaders;
    readonly bytes: Buffer;
  }[];
  close(): Promise<void>;
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const received: ReceivedMetric[] = [];
  const bodies: OtlpReceiver["bodies"] = [];
  const server = createServer(async (request, response) => {
    const bytes = await bytesOf(request);
    const type = request.headers["content-type"];
    const { url: path = "", headers } = request;
    bodies.push({ path, type, headers, bytes });
    if (type === "application/json" && path.endsWith("/traces")) spans.push(...spansIn(bytes));
    if (type === "application/json" && path.endsWith("/metrics")) received.push(...metricsIn(bytes));
    response.writeHead(200, { "content-type": type }).end(type === "application/json" ? "{}" : "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the receiver has no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    spans,
    metrics: received,
    bodies,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function spansIn(bytes: Buffer): ReceivedSpan[] {
  return traces.parse(JSON.parse(bytes.toString())).resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = recordOf(resource.attributes)["service.name"];
    return scopeSpans
      .flatMap((scope) => scope.spans)
      .map((one) => ({ ...one, attributes: recordOf(one.attributes), service }));
  });
}

function metricsIn(bytes: Buffer): ReceivedMetric[] {
  return metrics
    .parse(JSON.parse(bytes.toString()))
    .resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics));
}

function recordOf(list: z.infer<typeof attributes>): Record<string, unknown> {
  return Object.fromEntries(
    list.map(({ key, value: { stringValue, intValue, doubleValue } }) => [
      key,
      stringValue ?? intValue ?? doubleValue,
    ]),
  );
}
