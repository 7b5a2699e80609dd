import {
  createServer,
  type IncomingMessage,
  type RequestOptions,
  request,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { type DescService, type JsonValue, type Message, toJson } from "@bufbuild/protobuf";
import type { HandlerContext, Interceptor, ServiceImpl } from "@connectrpc/connect";
import { describeRoutes } from "../../src/transcoder/openapi.ts";
import { createTranscoder, type TranscoderOptions } from "../../src/transcoder/transcoder.ts";
import { OpenApiCheck } from "../helpers/openapi-check.ts";
import { zoo, zooService } from "./protos.ts";

/** A message of a descriptor that was compiled at run time: its fields are known to the descriptor only. */
export type AnyMessage = Message & Record<string, unknown>;

/** Handlers of the zoo by local name; what they answer is filled up to whole messages. */
// Descriptors of run time have no types of their own: what a handler takes and gives is checked by the test.
// biome-ignore lint/suspicious/noExplicitAny: see above
export type Handlers = Record<string, (request: any, context: HandlerContext) => any>;

/** What came back over the wire. */
export interface Reply {
  status: number;
  headers: IncomingMessage["headers"];
  rawTrailers: string[];
  body: Buffer;
  json: JsonValue;
}

/** A real server with the zoo's transcoder, and a client that sends exactly what it is told. */
export class ZooServer {
  readonly #server = createServer((req, res) => void this.#answer(req, res));
  readonly #transcoder;
  readonly #check: OpenApiCheck;
  readonly faults: unknown[] = [];
  handled: boolean[] = [];
  /** Aborted by a test to end what is open, as a server does that stops. */
  streamsEnd = new AbortController();
  callsEnd = new AbortController();

  constructor(implementation: Handlers, options: Partial<TranscoderOptions> = {}) {
    this.#transcoder = createTranscoder({
      services: [
        // The service's own type says nothing of its methods, since its descriptor was compiled just now.
        {
          service: zooService,
          implementation: implementation as unknown as Partial<ServiceImpl<DescService>>,
        },
      ],
      reportFault: (fault) => this.faults.push(fault),
      ...options,
    });
    this.#check = new OpenApiCheck(describeRoutes(this.#transcoder.routes, { title: "Zoo", version: "v1" }));
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const handled = await this.#transcoder.handle(req, res, {
      streams: this.streamsEnd.signal,
      calls: this.callsEnd.signal,
    });
    this.handled.push(handled);
    if (!handled) res.writeHead(404, { "x-written-by": "the caller" }).end();
  }

  get port(): number {
    // A server that listens on a port has an address of this kind.
    return (this.#server.address() as AddressInfo).port;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Sends a request, and checks the answer against the OpenAPI description; a body that is no string or bytes goes as JSON with its content type. */
  send(
    method: string,
    path: string,
    body?: string | Uint8Array | object,
    headers: RequestOptions["headers"] = {},
  ): Promise<Reply> {
    const content = typeof body === "object" && !(body instanceof Uint8Array) ? JSON.stringify(body) : body;
    const type = body === undefined ? {} : { "content-type": "application/json" };
    // Node announces no length by itself where the method usually has no body.
    const isChunked = headers !== undefined && "transfer-encoding" in headers;
    const length = content === undefined || isChunked ? {} : { "content-length": Buffer.byteLength(content) };
    return new Promise((resolve, reject) => {
      const options = {
        port: this.port,
        method,
        path,
        agent: false,
        headers: { ...type, ...length, ...headers },
      };
      const sent = request(options, (res) => {
        collect(res)
          .then((reply) => this.#checked(method, path, reply))
          .then(resolve, reject);
      });
      sent.on("error", reject);
      sent.end(content);
    });
  }

  #checked(method: string, target: string, reply: Reply): Reply {
    // What the transcoder did not answer, and methods that OpenAPI has no word for, it does not describe.
    const isDescribed = reply.headers["x-written-by"] === undefined && !CUSTOM.test(`${method} ${target}`);
    const isPlain = reply.headers["content-encoding"] === undefined;
    if (isDescribed && isPlain) {
      const contentType = reply.headers["content-type"];
      this.#check.expectDescribed(
        { method, target },
        { status: reply.status, contentType, text: reply.body.toString() },
      );
    }
    return reply;
  }

  /** Opens a request and gives the response as soon as its headers are there. */
  open(path: string, headers: RequestOptions["headers"] = {}): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      request({ port: this.port, path, agent: false, headers }, resolve).on("error", reject).end();
    });
  }
}

const CUSTOM = /^LINK |^\w+ \/v1\/any\//;

async function collect(res: IncomingMessage): Promise<Reply> {
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  return {
    status: res.statusCode ?? 0,
    headers: res.headers,
    rawTrailers: res.rawTrailers,
    body,
    json: parse(body),
  };
}

function parse(body: Buffer): JsonValue {
  try {
    // JSON.parse gives what JsonValue describes.
    return JSON.parse(body.toString()) as JsonValue;
  } catch {
    return null;
  }
}

/** A message as proto3 JSON, to compare what a handler saw. */
export function printMessage(message: Message): JsonValue {
  const desc = zoo.getMessage(message.$typeName);
  if (desc === undefined) throw new Error(`${message.$typeName} is not of the zoo`);
  return toJson(desc, message, { registry: zoo });
}

/** Keeps every message that handlers get, in JSON. */
export function recordMessages(into: JsonValue[]): Interceptor {
  return (next) => (req) => {
    if (!req.stream) into.push(printMessage(req.message));
    return next(req);
  };
}
