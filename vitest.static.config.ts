import { defineConfig } from "vitest/config";

/** For tests that read the sources alone and need no database. */
export default defineConfig({ test: { include: ["tests/architecture.test.ts"] } });
