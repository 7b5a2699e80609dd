import { create, fromJson, type JsonValue, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import {
  AgentService,
  type CompleteTaskResponseSchema,
  type FailTaskResponseSchema,
  type HeartbeatRequest,
  HeartbeatResponseSchema,
  type SessionRequest,
  type SessionResponseSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import { type Task, TaskSchema } from "../../gen/drover/v1/task_pb.js";
import { type Door, serve } from "../../src/doors/door.ts";
import { createGrpcDoor } from "../../src/doors/grpc-door.ts";

type Response = MessageInitShape<typeof SessionResponseSchema>;
type Said<Case> = Extract<SessionRequest["message"], { case: Case }>["value"];
export type Case = NonNullable<SessionRequest["message"]["case"]>;

/** What the server says to one message: an answer, nothing at all, or a refusal. */
type Reply<Schema> = Schema | "silence" | { refusal: { code: Code; reason?: string; message: string } };

/** Answers that a test replaces; what is left out is answered as a good server would. */
export interface Answers {
  hello: (stream: FakeStream) => void;
  heartbeat: (beat: HeartbeatRequest) => Reply<MessageInitShape<typeof HeartbeatResponseSchema>>;
  taskUpdate: (update: Said<"taskUpdate">) => Reply<{ lease?: { epoch: bigint; remainingMs: number } }>;
  taskComplete: (said: Said<"taskComplete">) => Reply<MessageInitShape<typeof CompleteTaskResponseSchema>>;
  taskFail: (said: Said<"taskFail">) => Reply<MessageInitShape<typeof FailTaskResponseSchema>>;
  ready: (said: Said<"ready">, stream: FakeStream) => void;
  goodbye: () => "answer" | "silence";
}

/** One message that the server heard. */
export interface Heard {
  readonly stream: FakeStream;
  readonly request: SessionRequest;
  readonly atMs: number;
}

/** One open stream, from the server's side. */
export class FakeStream {
  readonly token: string;
  readonly number: number;
  #outbox: Response[] = [];
  #wake: (() => void) | undefined;
  #end: { error: unknown } | undefined;

  constructor(token: string, number: number) {
    this.token = token;
    this.number = number;
  }

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  say(message: Response["message"], inReplyTo = 0n): void {
    if (message === undefined) return;
    this.#outbox.push({ inReplyTo, message });
    this.#wake?.();
  }

  /** Ends the stream, in error where one is given. */
  end(error?: unknown): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  async *outgoing(): AsyncGenerator<Response> {
    for (;;) {
      yield* this.#outbox.splice(0);
      if (this.#outbox.length > 0) continue;
      if (this.#end !== undefined) {
        if (this.#end.error !== undefined) throw this.#end.error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** A server that knows no tasks but those a test hands out, and does what the test says. */
export class FakeSessionServer {
  readonly heard: Heard[] = [];
  readonly streams: FakeStream[] = [];
  readonly faults: unknown[] = [];
  readonly rotations: string[] = [];
  readonly enrollments: { name: string; nonce: string; token: string }[] = [];
  answers: Partial<Answers> = {};
  intervalMs = 200;
  leaseMs = 60_000;
  /** Tokens that are taken; undefined: any. */
  tokens: Set<string> | undefined;
  #waiters: (() => void)[] = [];
  #door: Door | undefined;

  get url(): string {
    if (this.#door === undefined) throw new Error("the server does not listen");
    const { host, port } = this.#door.address;
    return `http://${host}:${port}`;
  }

  async start(port = 0): Promise<void> {
    const service = serve(AgentService, {
      session: (requests, context) => this.#session(requests, context),
      rotateToken: (_request, context) => this.#rotate(context),
      enroll: (request, context) => {
        this.enrollments.push({ name: request.name, nonce: request.nonce, token: this.#tokenOf(context) });
        return { agent: { name: request.name }, secret: "drv_agt_enrolled" };
      },
    });
    const options = { host: "127.0.0.1", port, services: [service], interceptors: [], graceMs: 50 };
    this.#door = createGrpcDoor(options);
    await this.#door.start();
  }

  async stop(): Promise<void> {
    for (const stream of this.streams) stream.end();
    await this.#door?.stop();
  }

  /** Starts again on the same port. */
  async restart(): Promise<void> {
    const port = Number(new URL(this.url).port);
    await this.stop();
    await this.start(port);
  }

  get stream(): FakeStream {
    const newest = this.streams.at(-1);
    if (newest === undefined) throw new Error("nobody has connected");
    return newest;
  }

  /** Hands a task to the agent of the newest stream. */
  assign(init: {
    id: string;
    kind?: string;
    payload?: JsonValue;
    timeoutMs?: number;
    attempt?: number;
  }): Task {
    const { id, kind = "work", payload = null, timeoutMs, attempt = 1 } = init;
    const task = create(TaskSchema, {
      id,
      kind,
      attempt,
      payload: fromJson(ValueSchema, payload),
      lease: { epoch: 1n, remaining: durationFromMs(this.leaseMs) },
      ...(timeoutMs === undefined ? {} : { timeout: durationFromMs(timeoutMs) }),
    });
    this.stream.say({ case: "assignment", value: task });
    return task;
  }

  /** The first message of this kind from `from` on that fits, once it has come. */
  async hears<C extends Case>(
    kind: C,
    fits: (said: Said<C>, heard: Heard) => boolean = () => true,
    from = 0,
  ): Promise<{ said: Said<C>; heard: Heard; index: number }> {
    for (let index = from; ; index++) {
      await this.until(() => this.heard.length > index);
      const heard = this.heard[index];
      if (heard?.request.message.case !== kind) continue;
      const said = heard.request.message.value as Said<C>; // by the case just compared
      if (fits(said, heard)) return { said, heard, index };
    }
  }

  /** Resolves once something has become true by a message or a connection. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  all<C extends Case>(kind: C): Said<C>[] {
    return this.heard.flatMap(({ request: { message } }) =>
      message.case === kind ? [message.value as Said<C>] : [],
    );
  }

  #changed(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  async *#session(
    requests: AsyncIterable<SessionRequest>,
    context: HandlerContext,
  ): AsyncGenerator<Response> {
    const token = this.#tokenOf(context);
    if (this.tokens !== undefined && !this.tokens.has(token))
      throw new ConnectError("The token is not valid.", Code.Unauthenticated);
    const stream = new FakeStream(token, this.streams.length + 1);
    this.streams.push(stream);
    this.#changed();
    context.signal.addEventListener("abort", () => stream.end());
    void this.#read(stream, requests);
    yield* stream.outgoing();
  }

  async #read(stream: FakeStream, requests: AsyncIterable<SessionRequest>): Promise<void> {
    try {
      for await (const request of requests) {
        this.heard.push({ stream, request, atMs: performance.now() });
        try {
          this.#answer(stream, request);
        } catch (error) {
          this.faults.push(error);
        }
        this.#changed();
      }
    } catch {
      // The agent went away, as tests make it do.
    }
    stream.end();
    this.#changed();
  }

  #answer(stream: FakeStream, { id, message }: SessionRequest): void {
    const { answers } = this;
    const reply = (body: Response["message"]) => stream.say(body, id);
    const unlessSilent = <T extends object>(given: Reply<T>, say: (value: T) => Response["message"]) => {
      if (given === "silence") return;
      if ("refusal" in given) {
        const { code, reason = "", message: text } = given.refusal;
        reply({ case: "refusal", value: { code, reason, message: text } });
      } else reply(say(given as T)); // neither of the other two
    };
    switch (message.case) {
      case "hello": {
        answers.hello?.(stream);
        if (stream.hasEnded) break;
        const value = {
          epoch: 1n,
          heartbeatInterval: durationFromMs(this.intervalMs),
          lease: durationFromMs(this.leaseMs),
        };
        reply({ case: "welcome", value });
        break;
      }
      case "heartbeat": {
        const given = answers.heartbeat?.(message.value) ?? {};
        unlessSilent(given, (value) => {
          const said = { ...this.#beatAnswer(message.value), ...value };
          // Two initial shapes of one message make a third.
          const answer = create(
            HeartbeatResponseSchema,
            said as MessageInitShape<typeof HeartbeatResponseSchema>,
          );
          return { case: "heartbeat", value: answer };
        });
        break;
      }
      case "taskUpdate": {
        const given = answers.taskUpdate?.(message.value) ?? {};
        unlessSilent(given, (value) => {
          const { epoch, remainingMs } = value.lease ?? {
            epoch: message.value.leaseEpoch,
            remainingMs: this.leaseMs,
          };
          return { case: "taskUpdate", value: { lease: { epoch, remaining: durationFromMs(remainingMs) } } };
        });
        break;
      }
      case "taskComplete":
        unlessSilent(answers.taskComplete?.(message.value) ?? {}, (value) => ({
          case: "taskComplete",
          value,
        }));
        break;
      case "taskFail":
        unlessSilent(answers.taskFail?.(message.value) ?? {}, (value) => ({ case: "taskFail", value }));
        break;
      case "error":
        reply({ case: "error", value: { errorReport: { id: "error_1" } } });
        break;
      case "ready":
        reply({ case: "done", value: {} });
        answers.ready?.(message.value, stream);
        break;
      case "goodbye":
        if (answers.goodbye?.() !== "silence") reply({ case: "done", value: {} });
        break;
      default:
        reply({ case: "done", value: {} });
    }
  }

  #beatAnswer(beat: HeartbeatRequest): MessageInitShape<typeof HeartbeatResponseSchema> {
    const held = [...(beat.currentTask === undefined ? [] : [beat.currentTask]), ...beat.heldLeases];
    return {
      acknowledged: true,
      agentStatus: beat.status,
      nextHeartbeat: durationFromMs(this.intervalMs),
      leases: held.map(({ taskId, leaseEpoch }) => ({
        taskId,
        leaseEpoch,
        renewed: true,
        remaining: durationFromMs(this.leaseMs),
      })),
    };
  }

  #rotate(context: HandlerContext): { secret: string } {
    const token = this.#tokenOf(context);
    this.rotations.push(token);
    const isGood = token.endsWith("expired") || this.tokens?.has(token) !== false;
    if (!isGood) throw new ConnectError("The token is not valid.", Code.Unauthenticated);
    this.tokens?.add("drv_agt_rotated");
    return { secret: "drv_agt_rotated" };
  }

  #tokenOf(context: HandlerContext): string {
    return (context.requestHeader.get("authorization") ?? "").replace(/^Bearer /, "");
  }
}

/** The id of a task, by a number. */
export function taskId(number: number): string {
  return `task_01900000-0000-7000-8000-${String(number).padStart(12, "0")}`;
}
