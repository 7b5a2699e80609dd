import { createInterface } from "node:readline/promises";
import { Failure, usageFailure } from "./failure.ts";

/** Asks a person; anything but y or yes, the end of the input included, is a no. */
export async function confirm(
  question: string,
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
): Promise<boolean> {
  const prompt = createInterface({ input, output });
  try {
    const closed = new Promise<string>((resolve) => prompt.once("close", () => resolve("")));
    const answer = await Promise.race([prompt.question(`${question} [y/N] `), closed]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    prompt.close();
  }
}

/** Fails where there is no terminal to ask at; `what` begins the sentence that says so, such as "Removing is for good". */
export function requireTerminal(what: string): void {
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw usageFailure(`${what} and there is no terminal to ask at: say --yes.`);
}

/** Asks at the terminal, and ends the command with `refused` where the answer is no. */
export async function agree(question: string, refused: string): Promise<void> {
  if (await confirm(question, process.stdin, process.stderr)) return;
  throw new Failure("CANCELLED", refused, { kind: "local" });
}
