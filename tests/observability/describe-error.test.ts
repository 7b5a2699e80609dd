import { DrizzleQueryError } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { createLogger } from "../../src/observability/logger.ts";

function logged(error: unknown): { line: string; err: Record<string, unknown> } {
  let line = "";
  const logger = createLogger({
    level: "info",
    scrub: (fields) => fields,
    destination: {
      write: (text) => {
        line = text;
      },
    },
  });
  logger.error({ err: error }, "a call failed");
  return { line, err: (JSON.parse(line) as { err: Record<string, unknown> }).err };
}

describe("an error in the log", () => {
  test("of the database shows its statement, code and constraint, and nothing of what was to be stored", () => {
    const refused = Object.assign(new Error('new row violates check constraint "small"'), {
      code: "23514",
      table_name: "agents",
      constraint_name: "small",
      detail: "Failing row contains (hunter2).",
      where: "hunter2",
    });
    const { line, err } = logged(
      new DrizzleQueryError("insert into agents values ($1)", ["hunter2"], refused),
    );
    expect(line).not.toContain("hunter2");
    expect(err).toMatchObject({
      query: "insert into agents values ($1)",
      cause: { code: "23514", table: "agents", constraint: "small", message: refused.message },
    });
    expect(String(err.stack)).toMatch(/^\s+at .*describe-error\.test/);
  });

  test("shows its causes, also when they go round in a circle, and what is no error at all", () => {
    const inner = new RangeError("inner");
    const outer = new Error("outer", { cause: inner });
    expect(logged(outer).err).toMatchObject({
      type: "Error",
      message: "outer",
      cause: { type: "RangeError" },
    });
    inner.cause = outer;
    expect(logged(outer).err).toMatchObject({ message: "outer" });
    expect(logged("thrown text").err).toMatchObject({ type: "string", message: "thrown text" });
  });
});
