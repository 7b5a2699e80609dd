import { fromJson, type JsonObject, toJson } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { bindQuery } from "../../src/transcoder/transcoder.ts";
import { zoo, zooMessage } from "./protos.ts";

const everything = zooMessage("Everything");

/** The JSON of the message that a query gives, in proto3 spelling; its violations as "field: description". */
function bind(query: string): JsonObject | string[] {
  const result = bindQuery(everything, query);
  if (!result.ok) return result.violations.map(({ field, description }) => `${field}: ${description}`);
  // A message is an object in JSON.
  return toJson(everything, result.message, { registry: zoo }) as JsonObject;
}

describe("what a query can give", () => {
  test.each<[query: string, json: JsonObject, why: string]>([
    ["", {}, "nothing"],
    ["&&", {}, "nothing, often"],
    ["string_value=a", { stringValue: "a" }, "the proto name"],
    ["stringValue=a", { stringValue: "a" }, "the JSON name"],
    ["string_value=a+b%20c%2B", { stringValue: "a b c+" }, "a plus is a space, an escaped one is not"],
    ["string%5Fvalue=%E4%B8%80", { stringValue: "\u4e00" }, "escapes in names and values"],
    ["string_value=a=b", { stringValue: "a=b" }, "the first equals sign separates"],
    ["string_value=a;b", { stringValue: "a;b" }, "a semicolon separates nothing"],
    ["optional_value=", { optionalValue: "" }, "an empty value is a value"],
    ["optional_value", { optionalValue: "" }, "also without its equals sign"],
    ["int32_value=-5&uint32_value=4294967295", { int32Value: -5, uint32Value: 4294967295 }, "32 bits"],
    ["int32_value=1e3", { int32Value: 1000 }, "a JSON number, which happens to be whole"],
    ["int64_value=9223372036854775807", { int64Value: "9223372036854775807" }, "64 bits, exactly"],
    ["int64_value=-9223372036854775808", { int64Value: "-9223372036854775808" }, "the least of them"],
    ["uint64_value=18446744073709551615", { uint64Value: "18446744073709551615" }, "unsigned"],
    ["sint64_value=5.0&fixed64_value=2e3", { sint64Value: "5", fixed64Value: "2000" }, "whole all the same"],
    ["sfixed32_value=1&fixed32_value=2", { sfixed32Value: 1, fixed32Value: 2 }, "fixed"],
    ["double_value=1.5e300", { doubleValue: 1.5e300 }, "a double"],
    ["double_value=NaN", { doubleValue: "NaN" }, "as JSON spells it"],
    ["float_value=-Infinity", { floatValue: "-Infinity" }, "as JSON spells it"],
    [
      "float_value=340282350000000000000000000000000000000",
      { floatValue: 3.4028235e38 },
      "the largest float in its shortest decimal form",
    ],
    ["bool_value=true", { boolValue: true }, "true"],
    ["bytes_value=%2B%2F8%3D", { bytesValue: "+/8=" }, "standard base64"],
    ["bytes_value=-_8=", { bytesValue: "+/8=" }, "URL-safe base64"],
    ["bytes_value=-_8", { bytesValue: "+/8=" }, "without padding"],
    ["enum_value=ANIMAL_KIND_SEA_LION", { enumValue: "ANIMAL_KIND_SEA_LION" }, "an enum's full name"],
    ["enum_value=sea_lion", { enumValue: "ANIMAL_KIND_SEA_LION" }, "its short name"],
    ["enum_value=SEA_LION", { enumValue: "ANIMAL_KIND_SEA_LION" }, "its short name in capitals"],
    ["enum_value=2", { enumValue: "ANIMAL_KIND_SEA_LION" }, "its number"],
    ["enum_value=77", { enumValue: 77 }, "an open enum takes numbers without a name"],
    ["int32_list=1&int32_list=2&int32List=3", { int32List: [1, 2, 3] }, "repeated, by both names"],
    [
      "enum_list=cat&enum_list=2",
      { enumList: ["ANIMAL_KIND_CAT", "ANIMAL_KIND_SEA_LION"] },
      "repeated enums",
    ],
    ["timestamp_list=2024-02-29T00:00:00Z", { timestampList: ["2024-02-29T00:00:00Z"] }, "repeated times"],
    ["nested.nested.string_value=a", { nested: { nested: { stringValue: "a" } } }, "nested"],
    [
      "nested.int32_list=1&nested.string_value=a&nested.int32_list=2",
      { nested: { stringValue: "a", int32List: [1, 2] } },
      "fields of one nested message",
    ],
    ["string_wrapper=", { stringWrapper: "" }, "a wrapper that is set to nothing"],
    ["int64_wrapper=5&bool_wrapper=false", { int64Wrapper: "5", boolWrapper: false }, "wrappers"],
    ["bytes_wrapper=YQ&double_wrapper=1.5", { bytesWrapper: "YQ==", doubleWrapper: 1.5 }, "wrappers"],
    ["timestamp=2024-02-29T01:02:03.5Z", { timestamp: "2024-02-29T01:02:03.500Z" }, "a time"],
    ["timestamp=2024-02-29T01:02:03%2B01:00", { timestamp: "2024-02-29T00:02:03Z" }, "with an offset"],
    ["duration=1.5s", { duration: "1.500s" }, "a duration"],
    ["duration=-0.5s", { duration: "-0.500s" }, "a negative one"],
    [
      "field_mask=stringValue,nested.boolValue",
      { fieldMask: "stringValue,nested.boolValue" },
      "a mask in JSON names",
    ],
    [
      "field_mask=string_value,nested.bool_value",
      { fieldMask: "stringValue,nested.boolValue" },
      "and in proto names",
    ],
    ["field_mask=", { fieldMask: "" }, "an empty mask"],
    ["choice_text=a", { choiceText: "a" }, "a member of a oneof"],
    [
      "choice_message.string_value=a&choice_message.bool_value=true",
      { choiceMessage: { stringValue: "a", boolValue: true } },
      "two fields of one member",
    ],
    ["nested.choice_text=a&choice_number=1", { nested: { choiceText: "a" }, choiceNumber: 1 }, "two oneofs"],
  ])("%s", (query, json, _why) => {
    const result = bindQuery(everything, query);
    expect(bind(query)).toEqual(json);
    const expected = fromJson(everything, json, { registry: zoo });
    expect(result).toEqual({ ok: true, message: expected });
  });
});

describe("what a query cannot give", () => {
  test.each<[query: string, violations: RegExp[], why: string]>([
    ["nothing=1", [/^nothing: zoo\.v1\.Everything has no field "nothing"/], "an unknown name"],
    ["nested.nothing=1", [/^nested\.nothing: /], "an unknown nested name"],
    ["=1", [/^: .*has no field ""/], "no name"],
    ["nested..bool_value=true", [/^nested\.\.bool_value: /], "an empty step"],
    ["string_value.x=1", [/^string_value\.x: string_value is not a message/], "a step into a scalar"],
    ["message_list.string_value=1", [/^message_list\.string_value: /], "a step into a list"],
    ["message_map.a=1", [/^message_map\.a: /], "a step into a map"],
    ["string_value=a&string_value=b", [/^string_value: is given twice/], "a singular field twice"],
    ["string_value=a&stringValue=a", [/^stringValue: is given twice/], "also by both of its names"],
    ["nested.bool_value=true&nested.boolValue=true", [/^nested\.boolValue: is given twice/], "also nested"],
    [
      "choice_text=a&choice_number=1",
      [/^choice_number: cannot be given together with choice_text/],
      "two members of a oneof",
    ],
    [
      "choice_message.bool_value=true&choice_text=a",
      [/^choice_text: cannot be given together with choice_message/],
      "one of them nested",
    ],
    ["nested=1", [/^nested: is a message/], "a message"],
    ["message_list=1", [/^message_list: is a message/], "a list of messages"],
    ["struct=%7B%7D", [/^struct: is a message/], "JSON in a query"],
    ["any=%7B%7D", [/^any: is a message/], "JSON in a query"],
    ["int32_map=1", [/^int32_map: is a map/], "a map"],
    ["int32_value=", [/^int32_value: must be a whole number from -2147483648/], "no digits"],
    ["int32_value=2147483648", [/^int32_value: /], "one too many"],
    ["int32_value=-2147483649", [/^int32_value: /], "one too few"],
    ["int32_value=1.5", [/^int32_value: /], "a fraction"],
    ["int32_value=0x10", [/^int32_value: /], "hexadecimal"],
    ["int32_value=012", [/^int32_value: /], "a leading zero"],
    ["int32_value=%2B1", [/^int32_value: /], "a plus sign"],
    ["int32_value=+1", [/^int32_value: /], "a space"],
    ["int32_value=1_000", [/^int32_value: /], "an underscore"],
    ["uint32_value=-1", [/^uint32_value: /], "a negative unsigned number"],
    ["int64_value=9223372036854775808", [/^int64_value: /], "one too many"],
    ["int64_value=0x10", [/^int64_value: /], "hexadecimal"],
    ["int64_value=1.5", [/^int64_value: /], "a fraction"],
    ["uint64_value=-1", [/^uint64_value: /], "a negative unsigned number"],
    ["double_value=1e400", [/^double_value: /], "beyond doubles"],
    ["double_value=nan", [/^double_value: /], "misspelled"],
    ["double_value=1.", [/^double_value: /], "no JSON number"],
    ["double_value=.5", [/^double_value: /], "no JSON number"],
    ["float_value=3.5e38", [/^float_value: /], "beyond floats"],
    ["bool_value=TRUE", [/^bool_value: must be true or false/], "misspelled"],
    ["bool_value=1", [/^bool_value: /], "a number"],
    ["bytes_value=a", [/^bytes_value: must be bytes in base64/], "one character too many"],
    ["bytes_value=YQ=", [/^bytes_value: /], "half a padding"],
    ["bytes_value=Y!Q", [/^bytes_value: /], "no base64"],
    ["enum_value=lion", [/^enum_value: must be one of unspecified, cat, sea_lion/], "no such name"],
    ["enum_value=Sea_Lion", [/^enum_value: /], "neither the full nor the short name"],
    ["enum_value=2147483648", [/^enum_value: /], "beyond enums"],
    ["enum_list=cat&enum_list=dog", [/^enum_list: /], "one item of a list"],
    ["timestamp=2024-02-30T00:00:00Z", [/^timestamp: must be a time/], "a day that is not in the calendar"],
    ["timestamp=2024-02-29", [/^timestamp: /], "no time of day"],
    ["timestamp=2024-02-29T24:00:00Z", [/^timestamp: /], "no such hour"],
    ["field_mask=line_1", [/^field_mask: must be field paths/], "a name that JSON's spelling would change"],
    ["field_mask=a__b", [/^field_mask: /], "another"],
    ["duration=1sooner", [/^duration: must be a duration/], "more than a duration"],
    ["duration=1", [/^duration: /], "no unit"],
    ["duration=1.0000000001s", [/^duration: /], "finer than nanoseconds"],
    ["int64_wrapper=0x10", [/^int64_wrapper: must be a whole number/], "a wrapped number"],
    ["string_value=%zz", [/^string_value: is not UTF-8/], "a malformed value"],
    ["string_value=%ff", [/^string_value: is not UTF-8/], "bytes that are no text"],
    ["%zz=1", [/^%zz: is not UTF-8/], "a malformed name, as it came"],
    ["string_value=a%00", [/^string_value: contains the character U\+0000/], "NUL"],
    ["int32_value=a&nothing=1&bool_value=2", [/^int32_value/, /^nothing/, /^bool_value/], "all at once"],
    [`${"nested.".repeat(64)}bool_value=true`, [/nested deeper than 64 levels/], "too deep"],
  ])("%s", (query, violations, _why) => {
    const found = bind(query);
    expect(found).toEqual(violations.map((violation) => expect.stringMatching(violation)));
  });

  test("and 64 levels are not too deep", () => {
    expect(bindQuery(everything, `${"nested.".repeat(63)}bool_value=true`).ok).toBe(true);
  });

  test("nor do thousands of violations come back", () => {
    const result = bindQuery(everything, "x=1&".repeat(5000));
    expect(result.ok ? 0 : result.violations.length).toBe(100);
  });
});
