import { test } from "vitest";
import { runFuzzer } from "./fuzz.ts";
import { createTranscodingFuzzer } from "./transcoding.ts";

test("a short run of the transcoding fuzzer finds nothing", { timeout: 120_000 }, async () => {
  // Another seed every day: the long run is for nights, this one looks at something new now and then.
  const seed = Math.floor(Date.now() / 86_400_000);
  await runFuzzer(createTranscodingFuzzer(), 20_000, seed, () => {});
});
