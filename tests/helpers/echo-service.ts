import { create, type Message, toBinary } from "@bufbuild/protobuf";
import {
  fileDesc,
  type GenMessage,
  type GenService,
  messageDesc,
  serviceDesc,
} from "@bufbuild/protobuf/codegenv2";
import { base64Encode } from "@bufbuild/protobuf/wire";
import {
  FileDescriptorProtoSchema,
  file_google_protobuf_struct,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  type Value,
} from "@bufbuild/protobuf/wkt";

/** A service with a method of every kind, described here so that the doors are tested with no product's contract. */
const file = fileDesc(
  base64Encode(
    toBinary(
      FileDescriptorProtoSchema,
      create(FileDescriptorProtoSchema, {
        name: "tests/echo.proto",
        package: "tests.v1",
        syntax: "proto3",
        dependency: ["google/protobuf/struct.proto"],
        messageType: [
          {
            name: "EchoRequest",
            field: [
              field("text", 1, Type.STRING),
              field("count", 2, Type.INT32),
              field("data", 3, Type.BYTES),
              { ...field("value", 4, Type.MESSAGE), typeName: ".google.protobuf.Value" },
            ],
          },
          {
            name: "EchoResponse",
            field: [
              field("text", 1, Type.STRING),
              field("count", 2, Type.INT32),
              field("data", 3, Type.BYTES),
            ],
          },
        ],
        service: [
          {
            name: "EchoService",
            method: [
              method("Say", {}),
              method("Count", { serverStreaming: true }),
              method("Sum", { clientStreaming: true }),
              method("Talk", { clientStreaming: true, serverStreaming: true }),
              method("Missing", {}),
            ],
          },
        ],
      }),
    ),
  ),
  [file_google_protobuf_struct],
);

function field(name: string, number: number, type: Type) {
  return { name, jsonName: name, number, type, label: Label.OPTIONAL };
}

function method(name: string, kind: { clientStreaming?: boolean; serverStreaming?: boolean }) {
  return { name, inputType: ".tests.v1.EchoRequest", outputType: ".tests.v1.EchoResponse", ...kind };
}

export type EchoRequest = Message<"tests.v1.EchoRequest"> & {
  text: string;
  count: number;
  data: Uint8Array;
  value?: Value;
};
export type EchoResponse = Message<"tests.v1.EchoResponse"> & {
  text: string;
  count: number;
  data: Uint8Array;
};

export const EchoRequestSchema: GenMessage<EchoRequest> = messageDesc(file, 0);
export const EchoResponseSchema: GenMessage<EchoResponse> = messageDesc(file, 1);

type Rpc<Kind extends "unary" | "server_streaming" | "client_streaming" | "bidi_streaming"> = {
  methodKind: Kind;
  input: typeof EchoRequestSchema;
  output: typeof EchoResponseSchema;
};

export const EchoService: GenService<{
  say: Rpc<"unary">;
  count: Rpc<"server_streaming">;
  sum: Rpc<"client_streaming">;
  talk: Rpc<"bidi_streaming">;
  missing: Rpc<"unary">;
}> = serviceDesc(file, 0);
