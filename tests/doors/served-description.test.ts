import { validate } from "@readme/openapi-parser";
import { Validator } from "@seriousme/openapi-schema-validator";
import { expect, test } from "vitest";
import { UNARY_METHODS } from "../helpers/contract.ts";
import { useDoors } from "../helpers/door-suite.ts";
import { sendHttp } from "../helpers/rest-client.ts";

const doors = useDoors();

interface Description {
  paths: Record<string, Record<string, { operationId: string }>>;
}

async function read(): Promise<Description> {
  const { text } = await sendHttp(doors.server.httpUrl, { method: "GET", target: "/openapi.json" });
  return JSON.parse(text);
}

test("what the server says of its API is OpenAPI 3.1, say two validators", async () => {
  expect(await new Validator().validate({ ...(await read()) })).toEqual({ valid: true });
  // Its type wants a document that the compiler knows to be one, which is what is to be found out.
  const document = (await read()) as unknown as Parameters<typeof validate>[0];
  expect(await validate(document)).toMatchObject({ valid: true });
});

test("it leaves out no RPC that has a path", async () => {
  const described = Object.values((await read()).paths).flatMap((item) =>
    Object.values(item).map(({ operationId }) => operationId),
  );
  const expected = UNARY_METHODS.filter((method) => method.parent.typeName.startsWith("drover.")).map(
    (method) => `${method.parent.name}_${method.name}`,
  );
  expect(described).toEqual(expect.arrayContaining(expected));
});
