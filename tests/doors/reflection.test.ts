import {
  create,
  createFileRegistry,
  type DescMethod,
  type DescMethodStreaming,
  type DescMethodUnary,
  type DescService,
  fromBinary,
} from "@bufbuild/protobuf";
import {
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ServerReflection as V1 } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as V1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { SERVICES } from "../helpers/contract.ts";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";

let server: TestControlPlane;
beforeAll(async () => {
  server = await startControlPlane();
});
afterAll(() => server.stop());

const BUILT_IN = ["grpc.health.v1.Health", V1.typeName, V1Alpha.typeName];

/** A client that knows nothing but the address: what it calls it has learned from the server. */
class ReflectionClient {
  readonly #ask: (request: object) => Promise<{ case: string | undefined; value?: unknown }>;

  constructor(transport: Transport, version: typeof V1 | typeof V1Alpha) {
    // Both versions are asked in the same words.
    const client = createClient(version as typeof V1, transport);
    this.#ask = async (messageRequest) => {
      const request = { host: "here", messageRequest: messageRequest as never };
      for await (const answer of client.serverReflectionInfo(only(request))) {
        expect(answer.validHost).toBe("here");
        expect(answer.originalRequest?.messageRequest).toMatchObject(messageRequest);
        return answer.messageResponse;
      }
      throw new Error("the stream ended without an answer");
    };
  }

  async services(): Promise<string[]> {
    const answer = await this.#ask({ case: "listServices", value: "" });
    if (answer.case !== "listServicesResponse") throw new Error(`listed ${answer.case}`);
    return (answer.value as { service: { name: string }[] }).service.map(({ name }) => name);
  }

  async extensions(message: string): Promise<unknown> {
    return (await this.#ask({ case: "allExtensionNumbersOfType", value: message })).value;
  }

  /** Files by path, first the one that was asked for; a refusal as its code. */
  async files(request: object): Promise<Map<string, FileDescriptorProto> | number> {
    const answer = await this.#ask(request);
    if (answer.case === "errorResponse") return (answer.value as { errorCode: number }).errorCode;
    if (answer.case !== "fileDescriptorResponse") throw new Error(`answered with ${answer.case}`);
    const { fileDescriptorProto } = answer.value as { fileDescriptorProto: Uint8Array[] };
    const files = fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    return new Map(files.map((file) => [file.name, file]));
  }

  /** A service as the server describes it. */
  async service(name: string): Promise<DescService> {
    const files = await this.files({ case: "fileContainingSymbol", value: name });
    if (typeof files === "number") throw new Error(`${name} is described by nothing`);
    const [first] = files.values();
    if (first === undefined) throw new Error("an answer without a file");
    const set = create(FileDescriptorSetSchema, { file: importsFirst(first, files) });
    const service = createFileRegistry(set).getService(name);
    if (service === undefined) throw new Error(`${name} is not where it was said to be`);
    return service;
  }
}

/** A file behind all that it imports, which is the order of a descriptor set. */
function importsFirst(
  file: FileDescriptorProto,
  files: Map<string, FileDescriptorProto>,
): FileDescriptorProto[] {
  const ordered = new Set<FileDescriptorProto>();
  const add = (one: FileDescriptorProto) => {
    if (ordered.has(one)) return;
    for (const path of one.dependency) {
      const imported = files.get(path);
      if (imported === undefined) throw new Error(`${path}, imported by ${one.name}, did not come with it`);
      add(imported);
    }
    ordered.add(one);
  };
  add(file);
  return [...ordered];
}

async function* only<T>(value: T): AsyncGenerator<T> {
  yield value;
}

async function* none(): AsyncGenerator<never> {}

const isUnary = (method: DescMethod): method is DescMethodUnary & DescMethod => method.methodKind === "unary";

/** Calls a method with an empty request and gives the code of what comes first. */
async function codeOfCall(transport: Transport, method: DescMethod): Promise<Code | 0> {
  try {
    if (isUnary(method)) {
      await transport.unary(method, undefined, 5_000, undefined, {});
      return 0;
    }
    const requests = method.methodKind === "server_streaming" ? only({}) : none();
    const abort = new AbortController();
    const { message } = await transport.stream(
      method as DescMethodStreaming,
      abort.signal,
      5_000,
      undefined,
      requests,
    );
    for await (const _ of message) break;
    abort.abort();
    return 0;
  } catch (error) {
    return ConnectError.from(error).code;
  }
}

interface Way {
  port: "native" | "web";
  open(): { transport: Transport; close(): void };
}

const WAYS: Record<string, Way> = {
  "grpc-js to the native port": {
    port: "native",
    open: () => {
      const transport = createGrpcJsTransport(server.grpcAddress);
      return { transport, close: () => transport.close() };
    },
  },
  "grpc-js to the web port": {
    port: "web",
    open: () => {
      const transport = createGrpcJsTransport(new URL(server.httpUrl).host);
      return { transport, close: () => transport.close() };
    },
  },
  "connect-node to the web port": {
    port: "web",
    open: () => ({ transport: createGrpcTransport({ baseUrl: server.httpUrl }), close: () => {} }),
  },
};

describe.each(Object.keys(WAYS))("%s", (way) => {
  let transport: Transport;
  let close: () => void;
  beforeAll(() => {
    const opened = WAYS[way]?.open();
    if (opened === undefined) throw new Error("there is such a way");
    ({ transport, close } = opened);
  });
  afterAll(() => close());

  describe.each([V1, V1Alpha])("$typeName", (version) => {
    test("it lists every service, and what each is made of, to anyone", async () => {
      const client = new ReflectionClient(transport, version);
      const names = [...SERVICES.map(({ typeName }) => typeName), ...BUILT_IN].sort();
      expect(await client.services()).toEqual(names);
      for (const expected of SERVICES) {
        const learned = await client.service(expected.typeName);
        expect(learned.methods.map(({ name, methodKind }) => [name, methodKind])).toEqual(
          expected.methods.map(({ name, methodKind }) => [name, methodKind]),
        );
      }
    });

    test("every method that it lists is there to be called", async () => {
      const client = new ReflectionClient(transport, version);
      for (const name of await client.services()) {
        for (const method of (await client.service(name)).methods) {
          const code = await codeOfCall(transport, method);
          // Without a token, that is the answer of everything but what is open to anyone; or that such calls are too many.
          const expected = BUILT_IN.includes(name) ? [0] : [Code.Unauthenticated, Code.ResourceExhausted];
          expect(expected, `${name}/${method.name}`).toContain(code);
        }
      }
    });

    test("files are found by path, by any symbol in them and by extension", async () => {
      const client = new ReflectionClient(transport, version);
      const firstOf = async (request: object) => {
        const files = await client.files(request);
        return typeof files === "number" ? files : [...files.keys()][0];
      };
      const path = "drover/v1/agent.proto";
      expect(await firstOf({ case: "fileByFilename", value: path })).toBe(path);
      for (const value of ["drover.v1.Agent", "drover.v1.Agent.name", "drover.v1.AGENT_STATUS_ONLINE"]) {
        expect([value, await firstOf({ case: "fileContainingSymbol", value })]).toEqual([value, path]);
      }
      const method = { case: "fileContainingSymbol", value: "drover.v1.AgentService.Heartbeat" };
      expect(await firstOf(method)).toBe("drover/v1/agent_service.proto");
      const http = { containingType: "google.protobuf.MethodOptions", extensionNumber: 72295728 };
      expect(await firstOf({ case: "fileContainingExtension", value: http })).toBe(
        "google/api/annotations.proto",
      );
      expect(await client.extensions("google.protobuf.MethodOptions")).toMatchObject({
        baseTypeName: "google.protobuf.MethodOptions",
        extensionNumber: expect.arrayContaining([72295728]),
      });
    });

    test("what is not there is NOT_FOUND, and the stream goes on", async () => {
      const client = new ReflectionClient(transport, version);
      expect(await client.files({ case: "fileByFilename", value: "../etc/passwd" })).toBe(Code.NotFound);
      expect(await client.files({ case: "fileContainingSymbol", value: "drover.v1" })).toBe(Code.NotFound);
      expect(await client.files({ case: "fileContainingSymbol", value: "__proto__" })).toBe(Code.NotFound);
      const nothing = { containingType: "drover.v1.Agent", extensionNumber: 1 };
      expect(await client.files({ case: "fileContainingExtension", value: nothing })).toBe(Code.NotFound);
      expect(await client.extensions("drover.v1.Stranger")).toMatchObject({ errorCode: Code.NotFound });
      expect(await client.files({ case: undefined })).toBe(Code.InvalidArgument);
    });
  });
});

test("a file comes with all that it imports, and nothing twice on one stream", async () => {
  const client = createClient(V1, createGrpcTransport({ baseUrl: server.httpUrl }));
  const names: string[][] = [];
  const requests = (async function* () {
    for (const value of ["drover.v1.AgentService", "drover.v1.TaskService"]) {
      yield { messageRequest: { case: "fileContainingSymbol" as const, value } };
    }
  })();
  for await (const { messageResponse } of client.serverReflectionInfo(requests)) {
    if (messageResponse.case !== "fileDescriptorResponse") throw new Error("no files");
    const files = messageResponse.value.fileDescriptorProto;
    names.push(files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name));
  }
  const [first = [], second = []] = names;
  expect(first).toEqual(
    expect.arrayContaining(["drover/v1/agent_service.proto", "google/protobuf/descriptor.proto"]),
  );
  expect(second[0]).toBe("drover/v1/task_service.proto");
  expect(first.filter((name) => second.includes(name))).toEqual([]);
});
