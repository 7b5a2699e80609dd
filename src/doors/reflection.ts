import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, type ServiceImpl } from "@connectrpc/connect";
import {
  type ServerReflectionRequest,
  type ServerReflectionResponseSchema,
  ServerReflection as V1,
} from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as V1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { DescriptorIndex, type NamedFile } from "./descriptor-index.ts";
import { type ServedService, serve } from "./door.ts";

/**
 * grpc.reflection.v1, and v1alpha that many tools still ask first, for any door: what is served, and the files that
 * describe it. `services` are those besides reflection itself, which answers for itself too.
 */
export function createReflectionServices(services: readonly ServedService[]): ServedService[] {
  const served = [...services.map(({ service }) => service), V1, V1Alpha];
  let index: DescriptorIndex | undefined;
  // Made when first asked for: most servers are never asked.
  const indexed = () => {
    index ??= new DescriptorIndex(served);
    return index;
  };
  const implementation: ServiceImpl<typeof V1> = {
    serverReflectionInfo: (requests) => answerAll(indexed(), requests),
  };
  return [
    serve(V1, implementation),
    // The messages of the two differ in nothing but the name of their package.
    serve(V1Alpha, implementation as unknown as ServiceImpl<typeof V1Alpha>),
  ];
}

type Response = MessageInitShape<typeof ServerReflectionResponseSchema>;
type Answer = NonNullable<Response["messageResponse"]>;

async function* answerAll(
  index: DescriptorIndex,
  requests: AsyncIterable<ServerReflectionRequest>,
): AsyncGenerator<Response> {
  // What a caller has got on this stream is not sent again beside what it asks for next.
  const sent = new Set<string>();
  for await (const request of requests) {
    const messageResponse = answer(index, request.messageRequest, sent);
    yield { validHost: request.host, originalRequest: request, messageResponse };
  }
}

function answer(
  index: DescriptorIndex,
  request: ServerReflectionRequest["messageRequest"],
  sent: Set<string>,
): Answer {
  switch (request.case) {
    case "listServices":
      return {
        case: "listServicesResponse",
        value: { service: index.services.map((name) => ({ name })) },
      };
    case "fileByFilename":
      return files(index, index.file(request.value), request.value, sent);
    case "fileContainingSymbol":
      return files(index, index.fileOfSymbol(request.value), request.value, sent);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = request.value;
      const found = index.fileOfExtension(containingType, extensionNumber);
      return files(index, found, `extension ${extensionNumber} of ${containingType}`, sent);
    }
    case "allExtensionNumbersOfType": {
      const numbers = index.extensionNumbers(request.value);
      if (numbers === undefined) return refuse(Code.NotFound, `no message named ${request.value}`);
      return {
        case: "allExtensionNumbersResponse",
        value: { baseTypeName: request.value, extensionNumber: numbers },
      };
    }
    case undefined:
      return refuse(Code.InvalidArgument, "message_request: must be set to one of its kinds");
  }
}

/** The file that was asked for, then those it imports as far as this caller has not got them yet. */
function files(
  index: DescriptorIndex,
  found: NamedFile | undefined,
  what: string,
  sent: Set<string>,
): Answer {
  if (found === undefined) return refuse(Code.NotFound, `nothing served is described by ${what}`);
  const imported = index.importsOf(found).filter(({ name }) => !sent.has(name));
  const answered = [found, ...imported];
  for (const { name } of answered) sent.add(name);
  return {
    case: "fileDescriptorResponse",
    value: { fileDescriptorProto: answered.map(({ bytes }) => bytes) },
  };
}

function refuse(code: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode: code, errorMessage } };
}
