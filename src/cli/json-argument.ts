import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { usageFailure } from "./failure.ts";

/** JSON given as an argument: itself, `@` and the name of a file, or `-` for standard input. `flag` names it in errors. */
export async function readJsonArgument(argument: string, flag: string): Promise<unknown> {
  const json = await textOf(argument, flag);
  try {
    return JSON.parse(json);
  } catch (error) {
    // The parser's own words quote the text, which may be long; where it stands is said by what was given.
    const why = error instanceof SyntaxError ? error.message.slice(0, 200) : String(error);
    throw usageFailure(`${flag} is no JSON (${why}). Give JSON, @file, or - for standard input.`);
  }
}

/** The text of an argument that `readJsonArgument` describes. */
export async function readTextArgument(argument: string, flag: string): Promise<string> {
  return await textOf(argument, flag);
}

async function textOf(argument: string, flag: string): Promise<string> {
  if (argument === "-") return await text(process.stdin);
  if (!argument.startsWith("@")) return argument;
  const path = argument.slice(1);
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw usageFailure(`The file that ${flag} names, ${path}, cannot be read (${code}).`);
  }
}
