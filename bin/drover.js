#!/usr/bin/env node
// Plain JavaScript that any Node can parse: it finds a Node that can run Drover, then hands over.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import * as module from "node:module";
import { fileURLToPath } from "node:url";
import { importQuickly } from "./quick-imports.js";

const NEEDED_MAJOR = 24;

if (Number(process.versions.node.split(".")[0]) >= NEEDED_MAJOR) {
  // A checkout runs its sources as they are; the published package carries them compiled.
  const source = new URL("../src/cli/main.ts", import.meta.url);
  // Its own folder, and not the one in the shared folder for temporary files, where others may leave code for us.
  if (existsSync(source))
    module.enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/drover", import.meta.url)));
  importQuickly();
  const entry = existsSync(source) ? source : new URL("../dist/src/cli/main.js", import.meta.url);
  const { main } = await import(entry.href);
  await main(process.argv);
} else {
  handOver(pinnedNode());
}

/** The Node that the checkout pins as a dev dependency, or undefined where the package was installed alone. */
function pinnedNode() {
  try {
    const require = module.createRequire(import.meta.url);
    const path = fileURLToPath(new URL("bin/node", `file://${require.resolve("node/package.json")}`));
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

function handOver(node) {
  if (node === undefined) {
    console.error(`drover needs Node ${NEEDED_MAJOR} or newer; this is ${process.version}.`);
    process.exitCode = 1;
    return;
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: "inherit" });
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    if (signal === null) {
      process.exitCode = code ?? 1;
      return;
    }
    for (const name of signals) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}
