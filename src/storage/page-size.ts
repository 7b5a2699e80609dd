/** Below the 4 MiB at which gRPC clients give up, and with room for what stands around the rows. */
export const MAX_PAGE_BYTES = 3 * 1024 * 1024 - 4096;

/* What a row can grow to on its way into an answer: a JSON number of two characters takes eleven bytes as protobuf. */
const GROWTH = 6;
const ROW_OVERHEAD = 1024;
/** A tag and a length in protobuf, or a comma in JSON. */
const BETWEEN_ROWS = 8;

/**
 * How many of the rows fit into one page, at least one. `sizeOf` is the bytes of a row in the answer; it is only asked
 * where a rough look says that it could matter.
 */
export function countThatFit<Row>(rows: readonly Row[], sizeOf: (row: Row) => number): number {
  const atMost = rows.reduce((sum, row) => sum + roughSize(row) * GROWTH + ROW_OVERHEAD, 0);
  if (atMost <= MAX_PAGE_BYTES) return rows.length;
  let bytes = 0;
  const end = rows.findIndex((row) => {
    bytes += sizeOf(row) + BETWEEN_ROWS;
    return bytes > MAX_PAGE_BYTES;
  });
  return end === -1 ? rows.length : Math.max(end, 1);
}

function roughSize(row: unknown): number {
  const text = JSON.stringify(row, (_, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
  return text.length;
}
