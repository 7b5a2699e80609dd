import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import {
  AgentService,
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
} from "../../gen/drover/v1/agent_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import type { TestControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";

/** Every way in that carries a stream in both directions. */
export const WAYS = [
  "gRPC by grpc-js on the native port",
  "gRPC by connect-node over h2c",
  "Connect by connect-node over HTTP/2",
] as const;

export type Way = (typeof WAYS)[number];

/** A client of its own connection; close it when done. */
export function openTransport(server: TestControlPlane, way: Way): Transport & { close(): void } {
  if (way === WAYS[0]) return createGrpcJsTransport(server.grpcAddress);
  const sessionManager = new Http2SessionManager(server.httpUrl);
  const options = { baseUrl: server.httpUrl, sessionManager, httpVersion: "2" } as const;
  const transport = way === WAYS[1] ? createGrpcTransport(options) : createConnectTransport(options);
  return { ...transport, close: () => sessionManager.abort() };
}

export type Saying = NonNullable<MessageInitShape<typeof SessionRequestSchema>["message"]>;
export type Heard = SessionResponse["message"];

/** An agent's end of a stream, by hand: what it says, and what it hears in turn. */
export class AgentLine {
  readonly #outgoing: SessionRequest[] = [];
  readonly #incoming: AsyncIterator<SessionResponse>;
  readonly #controller = new AbortController();
  #wake: () => void = () => {};
  #isOver = false;
  #lastId = 0n;

  constructor(transport: Transport, token: string) {
    const headers = { authorization: `Bearer ${token}` };
    const { signal } = this.#controller;
    const stream = createClient(AgentService, transport).session(this.#said(), { headers, signal });
    this.#incoming = stream[Symbol.asyncIterator]();
  }

  /** Says something; resolves to nothing, for what it is answered comes in turn. Returns its id. */
  say(message: Saying): bigint {
    this.#lastId += 1n;
    this.sayRaw(create(SessionRequestSchema, { id: this.#lastId, message }));
    return this.#lastId;
  }

  sayRaw(request: SessionRequest): void {
    this.#outgoing.push(request);
    this.#wake();
  }

  /** How many messages the transport has not taken yet. */
  get unsent(): number {
    return this.#outgoing.length;
  }

  /** Says no more, but still listens. */
  hangUp(): void {
    this.#isOver = true;
    this.#wake();
  }

  /** Breaks the stream off. */
  cancel(): void {
    this.#controller.abort();
  }

  /** The next thing that the server says; undefined once it has ended the stream well. */
  async hear(): Promise<SessionResponse | undefined> {
    const { done, value } = await this.#incoming.next();
    return done ? undefined : value;
  }

  /** Says something and hears the very next thing, which must answer it. */
  async ask(message: Saying): Promise<Heard> {
    const id = this.say(message);
    const heard = await this.hear();
    if (heard?.inReplyTo !== id) throw new Error(`expected an answer to ${id}, heard ${describe(heard)}`);
    return heard.message;
  }

  /** Says hello and hears the welcome. */
  async hello(bootId: string): Promise<{ epoch: bigint }> {
    const heard = await this.ask({ case: "hello", value: { bootId } });
    if (heard.case !== "welcome") throw new Error(`expected a welcome, heard ${heard.case}`);
    return heard.value;
  }

  /** Hears the rest and gives the error that ended the stream, undefined where it ended well. */
  async end(): Promise<ConnectError | undefined> {
    try {
      while ((await this.hear()) !== undefined);
      return undefined;
    } catch (reason) {
      if (reason instanceof ConnectError) return reason;
      throw reason;
    }
  }

  async *#said(): AsyncGenerator<SessionRequest> {
    for (;;) {
      const next = this.#outgoing.shift();
      if (next !== undefined) yield next;
      else if (this.#isOver) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

function describe(heard: SessionResponse | undefined): string {
  if (heard === undefined) return "the end";
  const { inReplyTo, message } = heard;
  return JSON.stringify({ inReplyTo, message }, (_, value) =>
    typeof value === "bigint" ? `${value}` : value,
  );
}

let count = 0;

/** Enrolls an agent under a name of its own. */
export async function enroll(
  server: TestControlPlane,
  transport: Transport,
): Promise<{ name: string; token: string; tokenId: string }> {
  count += 1;
  const name = `agent-${count}`;
  const operator = { headers: { authorization: `Bearer ${server.operatorToken}` } };
  const tokens = createClient(TokenService, transport);
  const { secret } = await tokens.createToken({ role: TokenRole.ENROLLMENT }, operator);
  const headers = { authorization: `Bearer ${secret}` };
  const enrolled = await createClient(AgentService, transport).enroll({ name }, { headers });
  const [token] = (await tokens.listTokens({ agent: name }, operator)).tokens;
  return { name, token: enrolled.secret, tokenId: token?.id ?? "" };
}
