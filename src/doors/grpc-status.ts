import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import type { ConnectError } from "@connectrpc/connect";
import { Metadata, type StatusObject } from "@grpc/grpc-js";
import { StatusSchema } from "../../gen/google/rpc/status_pb.js";
import { metadataFromHeaders } from "./grpc-metadata.ts";

/**
 * A failure as gRPC status and trailers: the handler's trailers, the error's own metadata, and its details as
 * google.rpc.Status in grpc-status-details-bin. Codes of Connect and gRPC have the same numbers.
 */
export function grpcStatusOf(error: ConnectError, trailers: Metadata | undefined): StatusObject {
  const metadata = trailers ?? new Metadata();
  const own = metadataFromHeaders(error.metadata);
  if (own !== undefined) metadata.merge(own);
  if (error.details.length > 0) metadata.set("grpc-status-details-bin", encodeDetails(error));
  const code: number = error.code;
  return { code, details: error.rawMessage, metadata };
}

function encodeDetails(error: ConnectError): Buffer {
  const status = create(StatusSchema, {
    code: error.code,
    message: error.rawMessage,
    details: error.details.map((detail) =>
      "desc" in detail
        ? anyPack(detail.desc, create(detail.desc, detail.value))
        : { typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value },
    ),
  });
  return bufferOf(toBinary(StatusSchema, status));
}

/** The same bytes as a Buffer, without a copy: grpc-js copies them into its frame itself. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
