import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    reporters: ["default", "./tests/helpers/count-reporter.ts"],
    globalSetup: ["tests/helpers/postgres-server.ts"],
    // Type stripping is Node's own: sources run in the tests as they run in production.
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // For two cores: real servers and real databases are waited for about a third of the time.
    maxWorkers: 3,
  },
});
