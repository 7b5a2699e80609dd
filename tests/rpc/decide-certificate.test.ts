import { describe, expect, test } from "vitest";
import { namesIn } from "../../src/doors/client-certificate.ts";
import { decideCertificate } from "../../src/rpc/decide-certificate.ts";

const token = { project: "default", agent: "gpu-1" };
const decide = (dns: string[], uris: string[]) => decideCertificate({ dns, uris }, token);

describe("a certificate that names an agent in so many words", () => {
  test.each([
    ["spiffe://fleet.example/agent/gpu-1"],
    ["spiffe://fleet.example/agents/gpu-1"],
    ["spiffe://fleet.example/project/default/agent/gpu-1"],
    ["spiffe://fleet.example/region/eu/projects/default/agents/gpu-1"],
    ["drover://fleet/agent/gpu-1"],
  ])("%s fits", (uri) => {
    expect(decide([], [uri])).toEqual({ kind: "fits" });
    expect(decide(["gpu-2"], ["spiffe://fleet.example/agent/gpu-2", uri])).toEqual({ kind: "fits" });
  });

  test.each([
    ["spiffe://fleet.example/agent/gpu-2"],
    ["spiffe://fleet.example/project/other/agent/gpu-1"],
    ["spiffe://fleet.example/agent/gpu-1x"],
  ])("%s is another's, whatever names of machines stand beside it", (uri) => {
    expect(decide(["gpu-1"], [uri])).toEqual({ kind: "names-another", other: uri });
  });
});

test("other names count where they are the agent's, or some agent's", () => {
  expect(decide(["rack-7", "gpu-1"], [])).toEqual({ kind: "fits" });
  expect(decide([], ["spiffe://fleet.example/ns/gpu-1"])).toEqual({ kind: "fits" });
  expect(decide(["rack-7", "*.example"], ["urn:uuid:7"])).toEqual({
    kind: "candidates",
    candidates: ["rack-7", "7"],
  });
  expect(decide([], [])).toEqual({ kind: "candidates", candidates: [] });
});

test("names are read as node:tls writes them, and none can pass for two", () => {
  expect(namesIn("DNS:gpu-1, URI:spiffe://a/agent/x, IP Address:127.0.0.1, email:DNS")).toEqual({
    dns: ["gpu-1"],
    uris: ["spiffe://a/agent/x"],
  });
  expect(namesIn('URI:"http://a/, DNS:gpu-1", DNS:gpu-2')).toEqual({
    dns: ["gpu-2"],
    uris: ["http://a/, DNS:gpu-1"],
  });
  expect(namesIn(undefined)).toEqual({ dns: [], uris: [] });
});
