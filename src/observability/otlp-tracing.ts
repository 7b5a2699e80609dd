/** Loaded only where tracing is asked for: OpenTelemetry takes longer to load than a start without it may. */
import { AsyncLocalStorage } from "node:async_hooks";
import {
  type Attributes,
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { PerSecond } from "../runtime/per-second.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { AroundRound } from "../runtime/round.ts";
import type { ReportUnsent } from "./collector.ts";
import { nameOfStatement } from "./name-of-statement.ts";
import { createResource, reporting } from "./otlp-exporter.ts";
import type { Origin, SamplerName, Tracing, TracingSettings, Work } from "./tracing.ts";

/** A statement is cut there; the longest take kilobytes, and the beginning tells them apart. */
const STATEMENT_CHARACTERS = 1_000;
const MOST_WAITING = 4_096;
const SEND_EVERY_MS = 1_000;
/** What a span for many is linked to; a batch of heartbeats has hundreds. */
const MOST_LINKS = 32;
/** The sequencer alone has fifty rounds a second where much happens. */
const MOST_ROUNDS_PER_SECOND = 10;
/** Parts of one round; a thorough one of the pruner has thousands. */
const MOST_HELD = 500;

type SamplerSettings = Pick<TracingSettings, "sampler" | "share">;

const samplers = {
  always_on: () => new AlwaysOnSampler(),
  always_off: () => new AlwaysOffSampler(),
  traceidratio: (share) => new TraceIdRatioBasedSampler(share),
  parentbased_always_on: () => new ParentBasedSampler({ root: new AlwaysOnSampler() }),
  parentbased_always_off: () => new ParentBasedSampler({ root: new AlwaysOffSampler() }),
  parentbased_traceidratio: (share) => new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(share) }),
} satisfies Record<SamplerName, (share: number) => Sampler>;

const headersGetter: TextMapGetter<Headers> = {
  get: (headers, name) => headers.get(name) ?? undefined,
  keys: (headers) => [...headers.keys()],
};

/** Spans by OTLP over HTTP. What waits to be sent is bounded: what ends beyond that is dropped. */
export class OtlpTracing implements Tracing {
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;
  readonly #propagator = new W3CTraceContextPropagator();
  readonly #scopes = new AsyncLocalStorage<Scope | undefined>();

  constructor({ sampler: name, share }: SamplerSettings, exporter: SpanExporter, report: ReportUnsent) {
    const sampler = samplers[name](share);
    const processor = new BatchSpanProcessor({
      exporter: reporting(exporter, report),
      maxQueueSize: MOST_WAITING,
      scheduledDelayMillis: SEND_EVERY_MS,
    });
    this.#provider = new TracerProvider({ resource: createResource(), sampler, spanProcessors: [processor] });
    this.#tracer = this.#provider.getTracer("drover");
  }

  beginCall(name: string, attributes: Attributes, headers: Headers): Work {
    const parent = this.#propagator.extract(ROOT_CONTEXT, headers, headersGetter);
    return this.#begin(this.#tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent));
  }

  beginApart(name: string, attributes: Attributes): Work {
    const around = this.#scopes.getStore();
    const links = around === undefined ? [] : [{ context: around.span.spanContext() }];
    const options = { kind: SpanKind.CONSUMER, attributes, links };
    return this.#begin(this.#tracer.startSpan(name, options, ROOT_CONTEXT));
  }

  here(): Origin | undefined {
    return this.#openScope()?.span.spanContext();
  }

  async together<T>(
    name: string,
    origins: readonly (Origin | undefined)[],
    run: () => Promise<T>,
  ): Promise<T> {
    const found = origins.filter((origin) => origin !== undefined);
    const [first] = found;
    // Whoever came first has set this off, and it is not his alone.
    if (first === undefined) return await this.#scopes.run(undefined, run);
    const parent = found.length === 1 ? trace.setSpanContext(ROOT_CONTEXT, first) : ROOT_CONTEXT;
    const links = found.length === 1 ? [] : found.slice(0, MOST_LINKS).map((context) => ({ context }));
    const attributes = { "drover.batch.size": origins.length };
    return await this.#through(this.#begin(this.#tracer.startSpan(name, { attributes, links }, parent)), run);
  }

  async part<T>(name: string, attributes: Attributes, run: () => Promise<T>): Promise<T> {
    const around = this.#openScope();
    if (around === undefined) return await run();
    const span = this.#tracer.startSpan(name, { attributes }, around.context);
    return await this.#through(this.#begin(span, around.held), run);
  }

  transaction<T>(run: () => Promise<T>): Promise<T> {
    return this.part("transaction", { "db.system.name": "postgresql" }, run);
  }

  background(name: string): AroundRound {
    const perSecond = new PerSecond(MOST_ROUNDS_PER_SECOND);
    return async (round) => {
      // What never ends is never sent, and nobody keeps it.
      const held: Held = [];
      const span = this.#tracer.startSpan(name, {}, ROOT_CONTEXT);
      const tell = (attributes: Attributes) => {
        if (!perSecond.hasRoom(performance.now())) return;
        for (const end of held) end();
        span.setAttributes(attributes).end();
      };
      try {
        const done = await this.#begin(span, held).run(round);
        if (done > 0) tell({ "drover.count": done });
        return done;
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR });
        tell({ "error.type": codeOf(error) });
        throw error;
      }
    };
  }

  readonly beginStatement = (text: string): ((error?: unknown) => void) | undefined => {
    const scope = this.#openScope();
    if (scope === undefined) return undefined;
    const span = this.#tracer.startSpan(
      nameOfStatement(text),
      {
        kind: SpanKind.CLIENT,
        // Values travel as parameters, and stand in no text.
        attributes: {
          "db.system.name": "postgresql",
          "db.query.text": text.slice(0, STATEMENT_CHARACTERS),
        },
      },
      scope.context,
    );
    return (error) => {
      if (error !== undefined) {
        // Its message can hold what an agent sent.
        span.setAttribute("error.type", codeOf(error));
        span.setStatus({ code: SpanStatusCode.ERROR });
      }
      endSpan(span, scope.held);
    };
  };

  async stop(): Promise<void> {
    // Whoever reports what cannot be sent has heard of it by then.
    await this.#provider.shutdown().catch(() => {});
  }

  /** What was begun by a call and goes on after its end, such as a loop that others use too, is no part of it. */
  #openScope(): Scope | undefined {
    const scope = this.#scopes.getStore();
    return scope?.isOpen && scope.span.isRecording() ? scope : undefined;
  }

  #begin(span: Span, held?: Held): Work {
    return new Scope(span, this.#scopes, held);
  }

  async #through<T>(work: Work, run: () => Promise<T>): Promise<T> {
    try {
      const result = await work.run(run);
      work.end(false);
      return result;
    } catch (error) {
      work.note({ "error.type": codeOf(error) });
      // What a caller may not do undoes a transaction, and is nobody's fault here.
      work.end(!(error instanceof Refusal));
      throw error;
    }
  }
}

/** Ends that wait until it is known whether there is anything to tell. */
type Held = (() => void)[];

function endSpan(span: Span, held: Held | undefined): void {
  if (held === undefined) {
    span.end();
    return;
  }
  const endedMs = performance.now();
  if (held.length < MOST_HELD) held.push(() => span.end(endedMs));
}

class Scope implements Work {
  readonly span: Span;
  readonly held: Held | undefined;
  readonly context: Context;
  readonly #scopes: AsyncLocalStorage<Scope | undefined>;
  isOpen = true;

  constructor(span: Span, scopes: AsyncLocalStorage<Scope | undefined>, held?: Held) {
    this.span = span;
    this.held = held;
    this.context = trace.setSpan(ROOT_CONTEXT, span);
    this.#scopes = scopes;
  }

  run<T>(part: () => T): T {
    return this.#scopes.run(this, part);
  }

  note(attributes: Attributes): void {
    this.span.setAttributes(attributes);
  }

  close(): void {
    this.isOpen = false;
  }

  end(failed: boolean): void {
    if (failed) this.span.setStatus({ code: SpanStatusCode.ERROR });
    endSpan(this.span, this.held);
  }
}

/** SQLSTATE or the operating system's code; else the error's name. */
function codeOf(error: unknown): string {
  for (let one = error; one instanceof Error; one = one.cause) {
    const code: unknown = Reflect.get(one, "code");
    if (typeof code === "string") return code;
  }
  return error instanceof Error ? error.name : typeof error;
}
