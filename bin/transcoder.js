// The package's entry `drover/transcoder`: from the sources in a checkout, compiled in the published package.
import { existsSync } from "node:fs";

const source = new URL("../src/transcoder/transcoder.ts", import.meta.url);
const compiled = new URL("../dist/src/transcoder/transcoder.js", import.meta.url);

export const { TemplateError, bindQuery, createTranscoder, describeRoutes, parsePathTemplate } = await import(
  existsSync(source) ? source.href : compiled.href
);
