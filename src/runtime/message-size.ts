import { create, type DescMessage, type MessageInitShape, toBinary, toJson } from "@bufbuild/protobuf";

/** Bytes that a message takes in an answer: as protobuf or as JSON, whichever is more. */
export function messageSize<D extends DescMessage>(schema: D, init: MessageInitShape<D>): number {
  const message = create(schema, init);
  const json = JSON.stringify(toJson(schema, message, { alwaysEmitImplicit: true }));
  return Math.max(toBinary(schema, message).length, Buffer.byteLength(json));
}
