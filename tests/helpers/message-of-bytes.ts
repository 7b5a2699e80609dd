import { create, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";

/**
 * A message that a library serializes to exactly these bytes, which need not make sense beyond their first tag: they
 * are one unknown field, whose tag is theirs and whose value is all the rest.
 */
export function messageOfBytes<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  const message = create(schema);
  if (bytes.length === 0) return message;
  const reader = new BinaryReader(bytes);
  const tag = reader.uint32();
  message.$unknown = [{ no: tag >>> 3, wireType: tag & 7, data: bytes.slice(reader.pos) }];
  return message;
}
