import type { JsonValue } from "@bufbuild/protobuf";
import type { OutputTail } from "./output-tail.ts";

/** What a command's standard output says: JSON where all of it is there and parses, text otherwise. */
export function resultOf(output: OutputTail): JsonValue {
  const text = output.text();
  if (!output.isCut) {
    try {
      return JSON.parse(text) as JsonValue; // JSON.parse gives nothing else
    } catch {
      // Most commands print plain text.
    }
  }
  // The server takes no NUL in a text.
  return text.replaceAll("\0", "\ufffd");
}

export type StderrLine =
  | { readonly kind: "progress"; readonly progress: number; readonly detail: string | undefined }
  | { readonly kind: "text"; readonly text: string };

const PROGRESS = /^::progress +(\d+(?:\.\d*)?|\.\d+)(?: +(.*))?$/;

/** Reads a line of a command's standard error: `::progress 0.4 some words` is progress, from 0 to 1. */
export function readStderrLine(line: string): StderrLine {
  const match = PROGRESS.exec(line.trimEnd());
  const progress = Number(match?.[1] ?? Number.NaN);
  if (!(progress >= 0 && progress <= 1)) return { kind: "text", text: line };
  const detail = match?.[2]?.trim().replaceAll("\0", "\ufffd");
  return { kind: "progress", progress, detail: detail === "" ? undefined : detail };
}
