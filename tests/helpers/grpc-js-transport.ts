import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type Message,
  toBinary,
} from "@bufbuild/protobuf";
import { type Code, ConnectError, type Transport } from "@connectrpc/connect";
import { Client, type ClientDuplexStream, credentials, Metadata, type StatusObject } from "@grpc/grpc-js";
import { StatusSchema } from "../../gen/google/rpc/status_pb.js";

/**
 * A Connect transport that speaks through a @grpc/grpc-js client, so that one test runs through it and the others
 * alike. Close it when done.
 */
export function createGrpcJsTransport(address: string): Transport & { close(): void } {
  const client = new Client(address, credentials.createInsecure());
  return {
    close: () => client.close(),
    unary(method, signal, timeoutMs, header, input) {
      const received = { header: new Headers(), trailer: new Headers() };
      return new Promise((resolve, reject) => {
        const call = client.makeUnaryRequest(
          pathOf(method),
          serializer(method.input),
          deserializer(method.output),
          create(method.input, input),
          metadataOf(header),
          optionsOf(timeoutMs),
          (error, message) => {
            if (error !== null) return reject(connectErrorOf(error));
            if (message === undefined) return reject(new Error("grpc-js gave neither error nor message"));
            const response = { stream: false as const, service: method.parent, method, message, ...received };
            // The trailers arrive by an event of their own, right after this.
            setImmediate(() => resolve(response));
          },
        );
        call.on("metadata", (metadata: Metadata) => copyInto(received.header, metadata));
        call.on("status", (status: StatusObject) => copyInto(received.trailer, status.metadata));
        cancelBy(signal, call);
      });
    },
    async stream(method, signal, timeoutMs, header, input) {
      const received = { header: new Headers(), trailer: new Headers() };
      // Every kind of stream is a bidirectional one on the wire.
      const call = client.makeBidiStreamRequest(
        pathOf(method),
        serializer(method.input),
        deserializer(method.output),
        metadataOf(header),
        optionsOf(timeoutMs),
      );
      cancelBy(signal, call);
      call.on("error", () => {});
      const ended = new Promise<StatusObject>((resolve) => {
        call.once("status", (status: StatusObject) => {
          copyInto(received.trailer, status.metadata);
          resolve(status);
        });
      });
      const begun = new Promise<void>((resolve) => {
        call.once("metadata", (metadata: Metadata) => {
          copyInto(received.header, metadata);
          resolve();
        });
        void ended.then(() => resolve());
      });
      const requests = (async function* () {
        for await (const one of input) yield create(method.input, one);
      })();
      void send(call, requests);
      await begun;
      return { stream: true, service: method.parent, method, message: receive(call, ended), ...received };
    },
  };
}

async function send<I, O>(call: ClientDuplexStream<I, O>, messages: AsyncIterable<I>): Promise<void> {
  try {
    for await (const message of messages) {
      if (call.write(message) || call.destroyed) continue;
      await new Promise<void>((resolve) => {
        const go = () => {
          call.off("drain", go).off("close", go);
          resolve();
        };
        call.on("drain", go).on("close", go);
      });
    }
    call.end();
  } catch {
    call.cancel();
  }
}

/** Reads until the call's status, which may have arrived before the first message is asked for. */
async function* receive<I, O>(
  call: ClientDuplexStream<I, O>,
  status: Promise<StatusObject>,
): AsyncGenerator<O> {
  try {
    for await (const message of call.iterator({ destroyOnReturn: false })) yield message;
    const ended = await status;
    if (ended.code !== 0) throw ended;
  } catch {
    throw connectErrorOf(await status);
  } finally {
    // Without effect on a call that has ended by itself.
    call.cancel();
  }
}

function cancelBy(signal: AbortSignal | undefined, call: { cancel(): void }): void {
  if (signal?.aborted) call.cancel();
  else signal?.addEventListener("abort", () => call.cancel(), { once: true });
}

const pathOf = (method: DescMethod) => `/${method.parent.typeName}/${method.name}`;

function serializer(schema: DescMessage) {
  return (message: Message) => Buffer.from(toBinary(schema, message));
}

function deserializer<D extends DescMessage>(schema: D) {
  return (bytes: Buffer) => fromBinary(schema, bytes);
}

function optionsOf(timeoutMs: number | undefined) {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

function metadataOf(header: HeadersInit | undefined): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of new Headers(header)) {
    metadata.add(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  }
  return metadata;
}

function copyInto(headers: Headers, metadata: Metadata): void {
  for (const [name, value] of Object.entries(metadata.toHttp2Headers())) {
    for (const one of [value].flat()) headers.append(name, String(one));
  }
}

function connectErrorOf(error: StatusObject): ConnectError {
  const metadata = new Headers();
  copyInto(metadata, error.metadata);
  const code: number = error.code;
  const mapped = new ConnectError(error.details, code as Code, metadata);
  const bytes = error.metadata.get("grpc-status-details-bin")[0];
  if (bytes instanceof Buffer) {
    mapped.details = fromBinary(StatusSchema, bytes).details.map((any) => ({
      type: any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1),
      value: any.value,
    }));
  }
  return mapped;
}
