import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import LongFirst from "./tests/helpers/long-first.ts";

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// Each file of tests has a process of its own, and many start servers: none compiles again what another has.
process.env.NODE_COMPILE_CACHE ??= file("node_modules/.cache/tests");

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    reporters: ["default", "./tests/helpers/count-reporter.ts"],
    globalSetup: ["tests/helpers/postgres-server.ts"],
    // Type stripping is Node's own: sources run in the tests as they run in production.
    pool: "forks",
    execArgv: ["--import", file("tests/helpers/import-quickly.js")],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // For two cores: real servers and real databases are waited for about a third of the time.
    maxWorkers: 3,
    sequence: { sequencer: LongFirst },
  },
});
