import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { scrubJson } from "../../src/error-reports/scrub-secrets.ts";
import { createLogger, readable } from "../../src/observability/logger.ts";

const SECRET = "hunter2-hunter2";

test("no line holds a secret, however deep somebody put it", () => {
  const lines: string[] = [];
  const logger = createLogger({
    level: "info",
    scrub: scrubJson,
    destination: { write: (line) => void lines.push(line) },
  });
  logger.info({ request: { headers: [{ authorization: `Bearer ${SECRET}` }] } }, "called");
  logger.warn({ settings: { database: { password: SECRET } } }, `postgres://drover:${SECRET}@db/drover`);
  logger.error(
    { err: new Error(`password=${SECRET}`, { cause: new Error(`api_key: ${SECRET}`) }) },
    "failed",
  );
  logger.child({ secret: SECRET }).info({ agent: "gpu-1" }, "spoke");
  expect(lines).toHaveLength(4);
  expect(lines.join("")).not.toContain(SECRET);
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(parsed.map(({ level, msg }) => [level, msg])).toEqual([
    ["info", "called"],
    ["warn", "postgres://drover:[REDACTED]@db/drover"],
    ["error", "failed"],
    ["info", "spoke"],
  ]);
  expect(parsed[3]).toMatchObject({ agent: "gpu-1", secret: "[REDACTED]" });
});

test("for people a line is words, with or without colours", async () => {
  for (const colours of [false, true]) {
    const out = new PassThrough();
    const logger = createLogger({
      level: "info",
      scrub: scrubJson,
      destination: await readable(out, { colours }),
    });
    logger.warn({ agent: "gpu-1", token: SECRET }, "agent liveness changed");
    out.end();
    const shown = await text(out);
    expect(shown).toMatch(/\d\d:\d\d:\d\d\.\d{3}.*WARN.*agent liveness changed.*gpu-1/);
    expect(shown).not.toContain(SECRET);
    expect(shown.includes("\u001b[")).toBe(colours);
  }
});
