import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type PathTemplate, parsePathTemplate, TemplateError } from "../../src/transcoder/transcoder.ts";

type Variable = [fieldPath: string, segments: string[], start: number, end: number];

function template(segments: string[], variables: Variable[] = [], verb?: string): PathTemplate {
  const listed = variables.map(([fieldPath, own, start, end]) => ({ fieldPath, segments: own, start, end }));
  return { segments, variables: listed, ...(verb === undefined ? {} : { verb }) };
}

describe("templates that parse", () => {
  test.each<[text: string, expected: PathTemplate, why: string]>([
    ["/v1", template(["v1"]), "one literal"],
    ["/v1/shelves/*", template(["v1", "shelves", "*"]), "a bare wildcard binds nothing"],
    ["/v1/**", template(["v1", "**"]), "a bare ** binds nothing"],
    ["/**", template(["**"]), "** alone"],
    ["/v1/{name}", template(["v1", "*"], [["name", ["*"], 1, 2]]), "one segment is the default"],
    ["/v1/{name=*}", template(["v1", "*"], [["name", ["*"], 1, 2]]), "the default, written out"],
    ["/{a.b.c}", template(["*"], [["a.b.c", ["*"], 0, 1]]), "a path of fields"],
    [
      "/v1/{name=shelves/*/books/*}/x",
      template(["v1", "shelves", "*", "books", "*", "x"], [["name", ["shelves", "*", "books", "*"], 1, 5]]),
      "several segments",
    ],
    ["/v1/{rest=**}", template(["v1", "**"], [["rest", ["**"], 1, 2]]), "end is exclusive for ** too"],
    [
      "/v1/{rest=a/**}:go",
      template(["v1", "a", "**"], [["rest", ["a", "**"], 1, 3]], "go"),
      "a verb after **",
    ],
    ["/v1:go", template(["v1"], [], "go"), "a verb after a literal"],
    ["/v1/*:go", template(["v1", "*"], [], "go"), "a verb after a wildcard"],
    ["/v1/{a}:go", template(["v1", "*"], [["a", ["*"], 1, 2]], "go"), "a verb after a variable"],
    [
      "/v1/{a}:b:c",
      template(["v1", "*"], [["a", ["*"], 1, 2]], "b:c"),
      "after a variable all of it is the verb",
    ],
    ["/v1/a:b:c", template(["v1", "a:b"], [], "c"), "after a literal the last colon begins the verb"],
    ["/a:b/c", template(["a:b", "c"]), "a colon is an ordinary character inside the path"],
    ["/a=b&c=d;e=f:g/h", template(["a=b&c=d;e=f:g", "h"]), "pchar allows these"],
    ["/-._~!$&'()+,;=@", template(["-._~!$&'()+,;=@"]), "all that pchar allows but the star"],
    ["/%2A/%e4%b8%80", template(["%2A", "%e4%b8%80"]), "escapes stay as they were written"],
    ["/a/{b=%2f/c}", template(["a", "%2f", "c"], [["b", ["%2f", "c"], 1, 3]]), "escapes inside a variable"],
    ["/{_a1}", template(["*"], [["_a1", ["*"], 0, 1]]), "an identifier may begin with an underscore"],
  ])("%s", (text, expected, _why) => {
    expect(parsePathTemplate(text)).toEqual(expected);
  });
});

describe("templates that do not parse", () => {
  test.each<[text: string, position: number, why: RegExp]>([
    ["", 0, /begins with a slash/],
    ["v1", 0, /begins with a slash/],
    ["{x}", 0, /begins with a slash/],
    ["/", 1, /empty/],
    ["//", 1, /empty/],
    ["/a//b", 3, /empty/],
    ["/a/", 3, /empty/],
    [":go", 0, /slash/],
    ["/:go", 1, /empty/],
    ["/a/:go", 3, /empty/],
    ["/a:", 3, /verb is empty/],
    ["/*:", 3, /verb is empty/],
    ["/**:", 4, /verb is empty/],
    ["/{a}:", 5, /verb is empty/],
    ["/{a}:go/b", 7, /follow the verb/],
    ["/*:go/b", 5, /follow the verb/],
    ["/**/a", 4, /follow \*\*/],
    ["/{a=**}/b", 8, /follow \*\*/],
    ["/{a=**/b}", 7, /follow \*\*/],
    ["/**/**", 4, /follow \*\*/],
    ["/***", 3, /expected/],
    ["/a*", 2, /expected/],
    ["/*a", 2, /expected/],
    ["/a{b}", 2, /expected/],
    ["/{b}a", 4, /expected/],
    ["/{b}{c}", 4, /expected/],
    ["/{}", 2, /name of a field/],
    ["/{a", 3, /not closed/],
    ["/{a.", 4, /name of a field/],
    ["/{a..b}", 4, /name of a field/],
    ["/{.a}", 2, /name of a field/],
    ["/{1a}", 2, /name of a field/],
    ["/{a-b}", 3, /not closed/],
    ["/{a=}", 4, /empty/],
    ["/{a=/b}", 4, /empty/],
    ["/{a=b/}", 6, /empty/],
    ["/{a=b", 5, /not closed/],
    ["/{a=b:c}", 5, /colon/],
    ["/{a=b/{c}}", 6, /inside a variable/],
    ["/{a={c}}", 4, /inside a variable/],
    ["/{a}/{a}", 5, /bound twice/],
    ["/a b", 2, /expected/],
    ["/a?b=c", 2, /expected/],
    ["/a#b", 2, /expected/],
    ["/\u00e4", 1, /empty/],
    ["/a%", 2, /hexadecimal/],
    ["/a%2", 2, /hexadecimal/],
    ["/a%zz", 2, /hexadecimal/],
    ["/a%ff", 1, /UTF-8/],
    ["/a%ed%a0%80", 1, /UTF-8/],
    ["/a:%ff", 1, /UTF-8/],
  ])("%s", (text, position, why) => {
    let thrown: unknown;
    try {
      parsePathTemplate(text);
    } catch (error) {
      thrown = error;
    }
    if (!(thrown instanceof TemplateError))
      throw new Error(`${text} was accepted or crashed: ${String(thrown)}`);
    expect(thrown.message).toMatch(why);
    expect({ text, position: thrown.position }).toEqual({ text, position });
  });
});

describe("any template", () => {
  const characters = [..."abcXYZ019-._~!$&'()+,;=@", "%2F", "%2a", "%e4%b8%80"];
  const literal = fc.string({ unit: fc.constantFrom(...characters), minLength: 1, maxLength: 6 });
  const inner = fc
    .tuple(fc.array(fc.oneof(literal, fc.constant("*")), { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([segments, open]) => (open ? [...segments, "**"] : segments));
  const part = fc.oneof(
    fc.record({ segments: inner, isVariable: fc.constant(false) }),
    fc.record({ segments: inner, isVariable: fc.constant(true) }),
  );
  const parts = fc
    .array(part, { minLength: 1, maxLength: 4 })
    // ** can only be the last segment of all.
    .map((all) =>
      all.map(({ segments, isVariable }, index) => ({
        isVariable,
        segments: index === all.length - 1 ? segments : segments.filter((segment) => segment !== "**"),
      })),
    );

  test("reads back as it was printed", () => {
    fc.assert(
      fc.property(parts, fc.option(literal, { nil: undefined }), (pieces, verb) => {
        const segments: string[] = [];
        const variables: PathTemplate["variables"] = [];
        let text = "";
        for (const [index, piece] of pieces.entries()) {
          const start = segments.length;
          segments.push(...piece.segments);
          const printed = piece.segments.join("/");
          text += piece.isVariable ? `/{f.v${index}=${printed}}` : `/${printed}`;
          if (!piece.isVariable) continue;
          variables.push({ fieldPath: `f.v${index}`, segments: piece.segments, start, end: segments.length });
        }
        const expected = { segments, variables, ...(verb === undefined ? {} : { verb }) };
        expect(parsePathTemplate(verb === undefined ? text : `${text}:${verb}`)).toEqual(expected);
      }),
    );
  });

  test("either parses or throws a TemplateError, whatever the text", () => {
    const noise = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(..."/{}=*:.%2Fab") }));
    fc.assert(
      fc.property(noise, (text) => {
        try {
          parsePathTemplate(text);
        } catch (error) {
          expect(error).toBeInstanceOf(TemplateError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
