/**
 * How values travel. We write every parameter as text and name no types, so that PostgreSQL takes each for what its place
 * in the statement, or a cast, makes of it: postgres.js would name the type of an array's first element for the array's.
 */
import { type ArrayOf, formatArrayText, parseArrayText } from "./array-text.ts";

/** The text of a parameter, or null; objects are written as JSON. */
export function formatParameter(value: unknown): string | null {
  if (value === null) return null;
  if (value === undefined) throw new Error("a parameter of a statement is undefined");
  return formatValue(value);
}

function formatValue(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "t" : "f";
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return formatArrayText(value, formatValue);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const asNumber = (text: string) => Number(text);
const asBytes = (text: string) => Buffer.from(text.slice(2), "hex");
const asIs = (text: string) => text;

/** Types and their arrays by PostgreSQL's own numbers, which never change. */
const types: [element: number, array: number, parse: (text: string) => unknown][] = [
  [16, 1000, (text) => text === "t"],
  [17, 1001, asBytes],
  [20, 1016, BigInt],
  [21, 1005, asNumber],
  [23, 1007, asNumber],
  [26, 1028, asNumber],
  [700, 1021, asNumber],
  [701, 1022, asNumber],
  // Times keep their microseconds as text, and JSON is read once, by drizzle: read twice, the string "1" would be a number.
  [114, 199, asIs],
  [3802, 3807, asIs],
  [1082, 1182, asIs],
  [1114, 1115, asIs],
  [1184, 1185, asIs],
  [25, 1009, asIs],
  [1043, 1015, asIs],
  [1700, 1231, asIs],
  [2950, 2951, asIs],
];

/** Readers of what PostgreSQL sends, by the number of its type; what is not here stays text. */
export const parsers: Readonly<Record<number, (text: string) => unknown>> = Object.fromEntries(
  types.flatMap(([element, array, parse]) => [
    [element, parse],
    [array, (text: string): ArrayOf<unknown> => parseArrayText(text, parse)],
  ]),
);
