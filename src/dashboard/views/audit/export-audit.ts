import { toJsonString } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { type AuditEntry, AuditEntrySchema } from "../../../../gen/drover/v1/event_service_pb.js";

const columns = [
  "id",
  "time",
  "actor",
  "action",
  "subject",
  "field",
  "from",
  "to",
  "version",
  "reason",
  "request_id",
];

/** Entries as CSV with a head line. A cell that a spreadsheet would take for a formula begins with an apostrophe. */
export function toCsv(entries: readonly AuditEntry[]): string {
  const lines = entries.map((entry) =>
    [
      entry.id,
      entry.time === undefined ? "" : timestampDate(entry.time).toISOString(),
      entry.actor,
      entry.action,
      entry.subject,
      entry.field,
      entry.from,
      entry.to,
      String(entry.version),
      entry.reason,
      entry.requestId,
    ]
      .map(cell)
      .join(","),
  );
  return `${[columns.join(","), ...lines].join("\r\n")}\r\n`;
}

function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Entries as lines of the API's JSON. */
export function toJsonLines(entries: readonly AuditEntry[]): string {
  return entries.map((entry) => `${toJsonString(AuditEntrySchema, entry)}\n`).join("");
}

/** Hands the user a file. */
export function saveAs(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
