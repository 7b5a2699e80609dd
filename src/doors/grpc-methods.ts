import { type DescMessage, type DescMethod, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createServiceImplSpec,
  type Interceptor,
  type MethodImplSpec,
} from "@connectrpc/connect";
import { invokeUnaryImplementation } from "@connectrpc/connect/protocol";
import type {
  MethodDefinition,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  sendUnaryData,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { FrozenCache } from "../runtime/frozen-cache.ts";
import { invokeStream, one } from "../runtime/invoke-stream.ts";
import { MAX_MESSAGE_DEPTH, type ServedService } from "./door.ts";
import { OpenCall } from "./grpc-call.ts";
import { RequestReader } from "./grpc-requests.ts";
import { bufferOf, grpcStatusOf } from "./grpc-status.ts";
import { wireErrorOf } from "./wire-error.ts";

/** One method's specification, the interceptors before it, and the set that holds its calls while they are open. */
interface Route {
  readonly spec: MethodImplSpec;
  readonly interceptors: Interceptor[];
  readonly open: Set<OpenCall>;
  /** The bytes of what is sent to many. */
  readonly encoded: FrozenCache<Buffer>;
}

/**
 * A Connect service as grpc-js wants it. Messages pass through grpc-js as bytes and are decoded here, because it
 * answers INTERNAL to what its decoder throws. `open` holds every call from its first byte to its last.
 */
export function grpcServiceOf(
  { service, implementation }: ServedService,
  interceptors: Interceptor[],
  open: Set<OpenCall>,
): { definition: ServiceDefinition; handlers: UntypedServiceImplementation } {
  const specs = createServiceImplSpec(service, implementation).methods;
  const definition: Record<string, MethodDefinition<Buffer, Buffer>> = {};
  const handlers: Record<string, UntypedHandleCall> = {};
  for (const spec of Object.values(specs)) {
    definition[spec.method.name] = methodDefinitionOf(spec.method);
    handlers[spec.method.name] = handlerOf({ spec, interceptors, open, encoded: new FrozenCache() });
  }
  return { definition, handlers };
}

function methodDefinitionOf(method: DescMethod): MethodDefinition<Buffer, Buffer> {
  const asIs = (bytes: Buffer) => bytes;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  };
}

function handlerOf(route: Route): UntypedHandleCall {
  switch (route.spec.kind) {
    case "unary":
      return (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) =>
        void answerUnary(route, call, callback);
    case "client_streaming":
      return (call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>) =>
        void answerClientStream(route, call, callback);
    case "server_streaming":
      return (call: ServerWritableStream<Buffer, Buffer>) => void answerServerStream(route, call);
    case "bidi_streaming":
      return (call: ServerDuplexStream<Buffer, Buffer>) => void answerBidi(route, call);
  }
}

async function answerUnary(
  route: Route,
  call: ServerUnaryCall<Buffer, Buffer>,
  callback: sendUnaryData<Buffer>,
): Promise<void> {
  const { spec, interceptors } = route;
  // Narrows the union for the compiler; handlerOf has chosen by this very field.
  if (spec.kind !== "unary") return;
  const opened = openCall(route, call);
  try {
    const input = decode(spec.method.input, call.request);
    const output = await invokeUnaryImplementation(spec, opened.context, input, interceptors);
    answerOne(opened, callback, encode(spec.method.output, output));
  } catch (reason) {
    refuseOne(opened, callback, reason);
  }
}

async function answerClientStream(
  route: Route,
  call: ServerReadableStream<Buffer, Buffer>,
  callback: sendUnaryData<Buffer>,
): Promise<void> {
  const opened = openCall(route, call);
  try {
    const outputs = await invokeStream(
      route.spec,
      opened,
      requestsOf(route, opened, call),
      route.interceptors,
    );
    let bytes: Buffer | undefined;
    for await (const output of outputs) bytes = encode(route.spec.method.output, output);
    if (bytes === undefined) throw new ConnectError("the handler gave no answer", Code.Internal);
    answerOne(opened, callback, bytes);
  } catch (reason) {
    refuseOne(opened, callback, reason);
  }
}

async function answerServerStream(route: Route, call: ServerWritableStream<Buffer, Buffer>): Promise<void> {
  const opened = openCall(route, call);
  try {
    const input = decode(route.spec.method.input, call.request);
    await answerMany(route, opened, call, one(input));
  } catch (reason) {
    refuseMany(opened, call, reason);
  }
}

async function answerBidi(route: Route, call: ServerDuplexStream<Buffer, Buffer>): Promise<void> {
  const opened = openCall(route, call);
  try {
    await answerMany(route, opened, call, requestsOf(route, opened, call));
  } catch (reason) {
    refuseMany(opened, call, reason);
  }
}

type AnswerStream = ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;

async function answerMany(
  route: Route,
  opened: OpenCall,
  call: AnswerStream,
  inputs: AsyncIterable<Message>,
): Promise<void> {
  const { output } = route.spec.method;
  const bytesOf = (message: Message) => encode(output, message);
  for await (const message of await invokeStream(route.spec, opened, inputs, route.interceptors)) {
    if (opened.signal.aborted) break;
    opened.sendHeaders();
    // The next message is asked for only when there is room for it, so that a slow reader slows its handler.
    if (!call.write(route.encoded.get(message, bytesOf))) await drained(call);
  }
  // A handler may take its signal's word and return; the caller must still learn that this was not the end.
  opened.signal.throwIfAborted();
  opened.sendHeaders();
  opened.answer();
  call.end(opened.trailers);
}

function answerOne(opened: OpenCall, callback: sendUnaryData<Buffer>, bytes: Buffer): void {
  opened.sendHeaders();
  opened.answer();
  callback(null, bytes, opened.trailers);
}

function refuseOne(opened: OpenCall, callback: sendUnaryData<Buffer>, reason: unknown): void {
  const status = grpcStatusOf(wireErrorOf(reason), opened.trailersOfRefusal);
  opened.sendHeaders();
  opened.answer();
  callback(status);
}

function refuseMany(opened: OpenCall, call: AnswerStream, reason: unknown): void {
  const status = grpcStatusOf(wireErrorOf(reason), opened.trailersOfRefusal);
  opened.sendHeaders();
  opened.answer();
  // This is how grpc-js takes a status for a stream: messages already written still go out before it.
  call.emit("error", status);
}

function openCall(
  route: Route,
  call:
    | ServerUnaryCall<Buffer, Buffer>
    | ServerReadableStream<Buffer, Buffer>
    | ServerWritableStream<Buffer, Buffer>
    | ServerDuplexStream<Buffer, Buffer>,
): OpenCall {
  const opened = new OpenCall(call, route.spec.method, (ended) => route.open.delete(ended));
  route.open.add(opened);
  return opened;
}

function requestsOf(
  { spec }: Route,
  opened: OpenCall,
  call: ServerReadableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>,
): RequestReader {
  const reader = new RequestReader(call, (bytes) => decode(spec.method.input, bytes), opened.signal);
  opened.onInterrupted(() => reader.wake());
  return reader;
}

function decode(schema: DescMessage, bytes: Buffer): Message {
  try {
    // Fields of bytes become views of what they are read from, and a Buffer's slice() is no copy as an array's is.
    const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    return fromBinary(schema, view, { recursionLimit: MAX_MESSAGE_DEPTH });
  } catch (reason) {
    const what = reason instanceof Error ? reason.message : String(reason);
    throw new ConnectError(`parse binary: ${what}`, Code.InvalidArgument);
  }
}

function encode(schema: DescMessage, message: Message): Buffer {
  return bufferOf(toBinary(schema, message));
}

function drained(call: AnswerStream): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off("drain", done);
      call.off("close", done);
      resolve();
    };
    call.once("drain", done);
    // A caller that went away never drains; grpc-js destroys the stream then.
    call.once("close", done);
    if (call.destroyed) done();
  });
}
