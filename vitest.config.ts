import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    reporters: ["default", "./tests/helpers/count-reporter.ts"],
    globalSetup: ["tests/helpers/postgres-server.ts"],
    // Type stripping is Node's own: sources run in the tests as they run in production.
    pool: "forks",
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two cores: more workers only make real servers and real databases wait for each other.
    maxWorkers: 2,
  },
});
