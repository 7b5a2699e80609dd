/** What traces, metrics and logs share of OpenTelemetry. Loaded only where one of them is sent. */
import { randomUUID } from "node:crypto";
import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import type { ReportUnsent } from "./collector.ts";

const instanceId = randomUUID();

/** This server. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last, so that they count. */
export function createResource(): Resource {
  return defaultResource()
    .merge(resourceFromAttributes({ "service.name": "drover", "service.instance.id": instanceId }))
    .merge(detectResources({ detectors: [envDetector] }));
}

interface Exporter<T> {
  export(items: T, done: (result: ExportResult) => void): void;
}

/** Makes failures of an exporter heard of: the libraries tell them to nobody. */
export function reporting<T, E extends Exporter<T>>(exporter: E & Exporter<T>, report: ReportUnsent): E {
  const send = exporter.export.bind(exporter);
  let failing = false;
  exporter.export = (items, done) =>
    send(items, (result) => {
      const fails = result.code === ExportResultCode.FAILED;
      if (fails && !failing) report(result.error);
      failing = fails;
      done(result);
    });
  return exporter;
}
