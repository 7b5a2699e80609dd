import fc from "fast-check";
import {
  bindQuery,
  createTranscoder,
  parsePathTemplate,
  TemplateError,
} from "../../src/transcoder/transcoder.ts";
import { zooMessage, zooService } from "../transcoder/protos.ts";
import { type Handlers, ZooServer } from "../transcoder/zoo-server.ts";
import { type Fuzzer, HANG_MS, processorMs } from "./fuzz.ts";
import { RawConnection } from "./raw-connection.ts";
import { pathNoise, queryNoise, rawBytes, requests, templateNoise } from "./transcoding-inputs.ts";

/** Handlers that take whatever comes and never fail, so that a status above 499 is none of theirs. */
const handlers: Handlers = {
  getAnimal: () => ({ name: "a" }),
  listAnimals: () => ({ animals: [{ name: "a" }] }),
  findFile: (request) => request,
  putAnimal: ({ animal }) => (animal === undefined ? {} : { animal }),
  tagAnimal: (request) => request,
  echo: (request) => request,
  echoStruct: (request) => request,
  upload: ({ file }) => file ?? {},
  reflect: (request) => request,
  async *watch({ count }) {
    for (let index = 0; index < Math.min(count, 5); index++) yield { animal: { name: `n${index}` } };
  },
  async *download({ count }) {
    for (let index = 0; index < Math.min(count, 5); index++) yield { data: Buffer.from("x") };
  },
  async weigh(animals) {
    let count = 0;
    for await (const animal of animals) if (animal !== undefined) count++;
    return { count };
  },
  answer: (request) => request,
};

/** Bytes in, and neither a crash nor a hang nor an error of ours out. */
export function createTranscodingFuzzer(): Fuzzer {
  const server = new ZooServer(handlers);
  const transcoder = createTranscoder({ services: [{ service: zooService, implementation: {} }] });
  const everything = zooMessage("Everything");
  const method = fc.constantFrom("GET", "POST", "HEAD", "OPTIONS", "LINK", "", "get");
  return {
    name: "transcoding",
    start: () => server.start(),
    stop: () => server.stop(),
    targets: [
      {
        name: "templates parse or say why not",
        share: 0.3,
        run: tryEach(templateNoise, (text) => void parseOrRefuse(text)),
      },
      {
        name: "paths match or get a status",
        share: 0.2,
        run: tryEach(fc.tuple(method, pathNoise), ([name, path]) =>
          expectMatch(transcoder.match(name, path)),
        ),
      },
      {
        name: "queries bind or are refused",
        share: 0.2,
        run: tryEach(queryNoise, (query) => {
          const result = bindQuery(everything, query);
          if (!result.ok && result.violations.length === 0) throw new Error("refused without a reason");
        }),
      },
      {
        name: "requests get an answer that is no fault of the server",
        share: 0.28,
        run: async (inputs, seed) => {
          const connection = new RawConnection(server.port);
          const property = fc.asyncProperty(requests, async ({ method: name, bytes }) => {
            const before = processorMs();
            const { status, answer } = await connection.send(bytes, name === "HEAD" ? "head" : "answer");
            expectAnswer(server, status, answer, true);
            expectNoHang(before);
          });
          await fc.assert(property, { numRuns: inputs, seed, endOnFailure: true });
          connection.close();
        },
      },
      {
        name: "bytes that are no HTTP break nothing",
        share: 0.02,
        run: async (inputs, seed) => {
          const property = fc.asyncProperty(rawBytes, async (bytes) => {
            const connection = new RawConnection(server.port);
            const before = processorMs();
            const { status, answer } = await connection.send(bytes, "end");
            connection.close();
            expectAnswer(server, status, answer, false);
            expectNoHang(before);
          });
          await fc.assert(property, { numRuns: inputs, seed, endOnFailure: true });
        },
      },
    ],
  };
}

function tryEach<T>(arbitrary: fc.Arbitrary<T>, attempt: (input: T) => void) {
  return async (inputs: number, seed: number): Promise<void> => {
    const property = fc.property(arbitrary, (input) => {
      const before = processorMs();
      attempt(input);
      expectNoHang(before);
    });
    fc.assert(property, { numRuns: inputs, seed });
  };
}

function expectNoHang(beforeMs: number): void {
  const tookMs = processorMs() - beforeMs;
  if (tookMs > HANG_MS) throw new Error(`kept the processor busy for ${Math.round(tookMs)} ms`);
}

/** What parses must print to a text that parses to the same. */
function parseOrRefuse(text: string): void {
  try {
    const { segments, verb } = parsePathTemplate(text);
    const flat = `/${segments.join("/")}${verb === undefined ? "" : `:${verb}`}`;
    const again = parsePathTemplate(flat);
    // A literal's own colon is taken for a verb's where the variable around it is gone.
    if (again.segments.length !== segments.length) throw new Error(`${flat} has other segments`);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
  }
}

function expectMatch(match: object): void {
  if ("rpc" in match) return;
  const { status } = match as { status: number };
  if (![400, 404, 405].includes(status)) throw new Error(`matched to ${status}`);
}

function expectAnswer(server: ZooServer, status: number, answer: string, isHttp: boolean): void {
  const [fault] = server.faults.splice(0);
  if (fault !== undefined) throw new Error("a handler's fault was reported", { cause: fault });
  if (isHttp && status === 0) throw new Error(`no answer: ${answer}`);
  // Above 499 stand Node's own refusal of a version or an expectation, which do not come from valid requests here, and
  // UNIMPLEMENTED for a content encoding that nobody knows, which is the caller's asking.
  const unknownEncoding = status === 501 && answer.includes("accept-encoding: gzip, br");
  if (status >= 500 && !(status === 505 && !isHttp) && !unknownEncoding)
    throw new Error(`answered ${answer}`);
}
