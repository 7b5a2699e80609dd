import {
  type DescField,
  type DescMessage,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Message,
  toJson,
} from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasOwnJsonForm, isTextual, leafOf } from "../../src/transcoder/leaf-values.ts";
import { bindQuery } from "../../src/transcoder/transcoder.ts";
import { messageJson, text } from "../fuzz/message-json.ts";
import { zoo, zooMessage } from "./protos.ts";
import { ZooServer } from "./zoo-server.ts";

const everything = zooMessage("Everything");
const options = { registry: zoo };

let seen: Message | undefined;
const keep = (request: Message): Message => {
  seen = request;
  return request;
};
const server = new ZooServer(
  { echo: keep, getAnimal: (request) => ({ name: keep(request).$typeName }), findFile: keep },
  { enumNames: "proto" },
);

beforeAll(() => server.start());
afterAll(() => server.stop());

/** Leaves the fields that a query can give, in messages that it can reach. */
function onlyTextual(desc: DescMessage, json: JsonValue): JsonObject {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return {};
  return Object.fromEntries(
    desc.fields.flatMap((field): [string, JsonValue][] => {
      const value = json[field.jsonName];
      if (value === undefined || value === null || field.fieldKind === "map") return [];
      if (isTextual(leafOf(field))) return [[field.jsonName, value]];
      if (field.fieldKind !== "message" || hasOwnJsonForm(field.message)) return [];
      const inner = onlyTextual(field.message, value);
      return Object.keys(inner).length === 0 ? [] : [[field.jsonName, inner]];
    }),
  );
}

type Spell = (field: DescField) => string;

/** A message's JSON as the pairs of a query; `spell` chooses one of a field's two names. */
function queryPairs(desc: DescMessage, json: JsonObject, spell: Spell, path = ""): string[] {
  return desc.fields.flatMap((field) => {
    const value = json[field.jsonName];
    if (value === undefined) return [];
    const name = `${path}${spell(field)}`;
    if (!isTextual(leafOf(field)) && field.message !== undefined) {
      // Left over by onlyTextual, so that it is an object.
      return queryPairs(field.message, value as JsonObject, spell, `${name}.`);
    }
    const items = Array.isArray(value) ? value : [value];
    return items.map((item) => `${encodeURIComponent(name)}=${encodeURIComponent(String(item))}`);
  });
}

describe("a message comes back as it went", () => {
  test("as a query, by either name of each field, in any order of its pairs", () => {
    const message = messageJson(everything, 2).map((json) => onlyTextual(everything, json));
    fc.assert(
      fc.property(message, fc.infiniteStream(fc.boolean()), fc.boolean(), (json, coins, plus) => {
        const spell: Spell = ({ name, jsonName }) => (coins.next().value === true ? name : jsonName);
        const raw = queryPairs(everything, json, spell).join("&");
        const result = bindQuery(everything, plus ? raw.replaceAll("%20", "+") : raw);
        const expected = fromJson(everything, json, options);
        if (!result.ok) throw new Error(JSON.stringify(result.violations));
        // By what they print, where a NaN is like another.
        expect(toJson(everything, result.message, options)).toEqual(toJson(everything, expected, options));
      }),
      { numRuns: 500 },
    );
  });

  test("as a body, and so does the answer", async () => {
    const property = fc.asyncProperty(messageJson(everything, 2), async (json) => {
      const expected = fromJson(everything, json, options);
      const reply = await server.send("POST", "/v1/echo", JSON.stringify(json));
      expect(reply.status).toBe(200);
      expect(seen && toJson(everything, seen, options)).toEqual(toJson(everything, expected, options));
      expect(reply.json).toEqual(toJson(everything, expected, { ...options, alwaysEmitImplicit: true }));
    });
    await fc.assert(property, { numRuns: 200 });
  });

  test("as a path of one segment a variable", async () => {
    const path = zooMessage("Path");
    const kinds = fc.constantFrom("ANIMAL_KIND_CAT", "ANIMAL_KIND_SEA_LION");
    const number = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String);
    const property = fc.asyncProperty(kinds, number, async (kind, value) => {
      const reply = await server.send("GET", `/v1/kinds/${kind}/animals/${value}`);
      expect(reply.status).toBe(200);
      expect(seen).toEqual(fromJson(path, { kind, number: value }, options));
    });
    await fc.assert(property, { numRuns: 50 });
  });

  test("as a path of several segments, however it is escaped", async () => {
    const segment = text.filter((all) => all !== "" && !/%2f|\//i.test(all));
    const property = fc.asyncProperty(fc.array(segment, { minLength: 1, maxLength: 4 }), async (segments) => {
      const reply = await server.send("GET", `/v1/files/${segments.map(encodeURIComponent).join("/")}`);
      expect(reply.json).toMatchObject({ rest: segments.join("/") });
    });
    await fc.assert(property, { numRuns: 100 });
  });
});
