import { describe, expect, test } from "vitest";
import { createTranscoder, type RouteMatch } from "../../src/transcoder/transcoder.ts";
import { serviceOf } from "./protos.ts";

/** Each RPC is named after its place in the list: A, B, C … */
function matcher(...rules: string[]): (method: string, target: string) => RouteMatch {
  const named = rules.map((rule, index) => [String.fromCharCode(65 + index), rule] as const);
  const transcoder = createTranscoder({
    services: [{ service: serviceOf(Object.fromEntries(named)), implementation: {} }],
  });
  return (method, target) => transcoder.match(method, target);
}

function to(name: string, bindings: Record<string, string> = {}): RouteMatch {
  return {
    rpc: `t.S/${name}`,
    bindings: Object.entries(bindings).map(([fieldPath, value]) => ({ fieldPath, value })),
  };
}

const NOT_FOUND: RouteMatch = { status: 404 };
const MALFORMED: RouteMatch = { status: 400 };

type Case = [target: string, expected: RouteMatch, why: string];

describe("precedence", () => {
  const find = matcher(
    "GET /v1/{a}",
    "GET /v1/fixed",
    "GET /v1/{a=**}",
    "GET /v1/x/{b}/end",
    "GET /v1/{a}/y/{b}",
    "GET /v1/x/y",
  );
  test.each<Case>([
    ["/v1/fixed", to("B"), "a literal goes before *"],
    ["/v1/other", to("A", { a: "other" }), "* goes before **"],
    ["/v1/other/more", to("C", { a: "other/more" }), "** takes what nothing else does"],
    ["/v1", to("C", { a: "" }), "** matches no segment at all"],
    ["/v1/", to("C", { a: "" }), "and an empty one"],
    ["/v1/x/y", to("F"), "literals all the way"],
    ["/v1/x/y/end", to("D", { b: "y" }), "the literal branch goes on by *"],
    ["/v1/x/y/z", to("E", { a: "x", b: "z" }), "back from a literal that leads nowhere"],
    ["/v1/x/y/z/w", to("C", { a: "x/y/z/w" }), "back from every branch to **"],
    ["/v2", NOT_FOUND, "nothing there"],
    ["/", NOT_FOUND, "not even the root"],
    ["/V1/fixed", NOT_FOUND, "literals are case-sensitive"],
  ])("%s", (target, expected, _why) => expect(find("GET", target)).toEqual(expected));
});

describe("the raw target", () => {
  const find = matcher("GET /v1/{a}/x", "GET /f/{a=files/*}", "GET /g/{a=**}", "GET /l%2Fm/%2A/{b=%2A}");
  test.each<Case>([
    ["/v1/a%2Fb/x", to("A", { a: "a/b" }), "split before it is decoded"],
    ["/v1/a%20b+c/x", to("A", { a: "a b+c" }), "a plus is a plus in a path"],
    ["/v1/%E4%B8%80/x", to("A", { a: "\u4e00" }), "UTF-8"],
    ["/v1/\u00e4\u00b8\u0080/x", to("A", { a: "\u4e00" }), "UTF-8 that was not escaped, as Node gives it"],
    ["/v1/../x", to("A", { a: ".." }), "dots are a segment like another"],
    ["/v1/%2e%2e/x", to("A", { a: ".." }), "also escaped"],
    ["/v1/%00/x", to("A", { a: "\0" }), "decoded here, refused where it is bound"],
    ["/v1/a/x?b=c/d:e", to("A", { a: "a" }), "the query is no part of the path"],
    ["/v1/a?/x", NOT_FOUND, "it begins at the first question mark"],
    ["http://host:80/v1/a/x?q", to("A", { a: "a" }), "absolute form"],
    ["http://host", NOT_FOUND, "absolute form of the root"],
    ["*", NOT_FOUND, "asterisk form names no resource"],
    ["", NOT_FOUND, "no target"],
    ["/f/files/a%2Fb%20c", to("B", { a: "files/a%2Fb c" }), "several segments keep an escaped slash"],
    ["/f/files/a%2fb", to("B", { a: "files/a%2fb" }), "as it came"],
    ["/f/f%69les/a", to("B", { a: "files/a" }), "a literal inside a variable is decoded too"],
    ["/g/a%2Fb", to("C", { a: "a%2Fb" }), "** keeps it even in one segment"],
    ["/g/a//b", to("C", { a: "a//b" }), "empty segments are segments"],
    ["/l%2fm/*/*", to("D", { b: "*" }), "literals are compared decoded"],
    ["/l/m/*/*", NOT_FOUND, "an escaped slash separates nothing"],
    ["/v1//x", NOT_FOUND, "an empty segment is nobody's name"],
    ["/v1/a/x/", NOT_FOUND, "a trailing slash is another path"],
    ["//v1/a/x", NOT_FOUND, "a leading one too"],
    ["/v1/%/x", MALFORMED, "no digits"],
    ["/v1/%2/x", MALFORMED, "one digit"],
    ["/v1/%zz/x", MALFORMED, "no hexadecimal digits"],
    ["/v1/%ff/x", MALFORMED, "not UTF-8"],
    ["/v1/%c0%af/x", MALFORMED, "an overlong form"],
    ["/v1/%ed%a0%80/x", MALFORMED, "a surrogate"],
    ["/v1/\u00ff/x", MALFORMED, "a raw byte that is not UTF-8"],
    ["/nowhere/%ff", MALFORMED, "whether or not there is a route"],
  ])("%s", (target, expected, _why) => expect(find("GET", target)).toEqual(expected));
});

describe("verbs", () => {
  const find = matcher(
    "GET /v1/{a}",
    "GET /v1/{a}:go",
    "GET /w/{a=**}:go",
    "GET /v1/fixed:stop",
    "GET /x/{a}:b:c",
    "GET /y/{a}/{b}",
    "GET /z/{a}:%67o%20on",
  );
  test.each<Case>([
    ["/v1/it:go", to("B", { a: "it" }), "a registered verb"],
    ["/v1/it:run", to("A", { a: "it:run" }), "one that is not belongs to the variable"],
    ["/v1/it:", to("A", { a: "it:" }), "an empty one as well"],
    ["/v1/a:b:go", to("B", { a: "a:b" }), "split at the last colon"],
    ["/v1/it%3Ago", to("A", { a: "it:go" }), "an escaped colon is never a verb"],
    ["/v1/it:%67o", to("B", { a: "it" }), "an escaped letter is that letter"],
    ["/v1/fixed:stop", to("D"), "after a literal"],
    ["/v1/other:stop", NOT_FOUND, "registered, and so no part of the variable"],
    ["/v1/:go", NOT_FOUND, "after nothing"],
    ["/w/a/b:go", to("C", { a: "a/b" }), "after **"],
    ["/w:go", to("C", { a: "" }), "after a ** that matches nothing"],
    ["/x/it:b:c", to("E", { a: "it" }), "a verb that holds a colon"],
    ["/y/it:go/here", to("F", { a: "it:go", b: "here" }), "only the last segment has one"],
    ["/z/it:go%20on", to("G", { a: "it" }), "verbs are compared decoded"],
  ])("%s", (target, expected, _why) => expect(find("GET", target)).toEqual(expected));
});

describe("methods", () => {
  const find = matcher(
    "GET /v1/fixed",
    "POST /v1/{a}",
    "DELETE /v1/{a}:go",
    "TRACK /v1/custom",
    "* /v1/any/{a}",
    "PUT /v1/any/fixed",
    "GET /v1/{a}",
  );
  const refused = (...allow: string[]): RouteMatch => ({ status: 405, allow });
  test.each<[method: string, target: string, expected: RouteMatch, why: string]>([
    ["GET", "/v1/fixed", to("A"), "its own"],
    ["POST", "/v1/fixed", to("B", { a: "fixed" }), "the literal has another method, so * is tried"],
    ["HEAD", "/v1/fixed", to("A"), "HEAD is GET"],
    ["DELETE", "/v1/fixed", refused("GET", "POST"), "every method of every fitting route"],
    ["GET", "/v1/x:go", refused("DELETE"), "a verb is part of the path"],
    ["TRACK", "/v1/custom", to("D"), "a custom method"],
    ["track", "/v1/custom", refused("GET", "POST", "TRACK"), "methods are case-sensitive"],
    ["BREW", "/v1/any/x", to("E", { a: "x" }), "* is any method"],
    ["OPTIONS", "/v1/any/x", to("E", { a: "x" }), "truly any"],
    ["PUT", "/v1/any/fixed", to("F"), "the literal goes first"],
    ["GET", "/v1/any/fixed", to("E", { a: "fixed" }), "and back"],
    ["GET", "/nowhere", NOT_FOUND, "no path, no method"],
  ])("%s %s", (method, target, expected, _why) => expect(find(method, target)).toEqual(expected));
});

describe("annotations that stop the start", () => {
  test.each<[rules: string[], message: RegExp]>([
    [["GET /v1/{"], /^t\.S\/A: path template "\/v1\/\{", at character 5/],
    [["GET /v1/{a}", "GET /v1/{b}"], /^t\.S\/B: GET \/v1\/\{b\} is taken by t\.S\/A/],
    [["GET /v1/%61", "GET /v1/a"], /^t\.S\/B: .* is taken by t\.S\/A/],
    [["GET /v1/{nothing}"], /^t\.S\/A: path variable nothing: t\.M has no field "nothing"/],
    [["GET /v1/{a.b}"], /^t\.S\/A: path variable a\.b: a is not a message/],
    [["GET /v1/{m}"], /^t\.S\/A: path variable m is a message/],
    [["GET /v1/{r}"], /^t\.S\/A: path variable r is repeated/],
    [["GET /v1/{map}"], /^t\.S\/A: path variable map is repeated/],
    [["GET /v1/{a}/{a}"], /^t\.S\/A: .* bound twice/],
    [['POST /v1 body: "nothing"'], /^t\.S\/A: body: t\.M has no field "nothing"/],
    [['POST /v1 body: "m.a"'], /^t\.S\/A: body: t\.M has no field "m\.a"/],
    [['POST /v1/{a} body: "a"'], /^t\.S\/A: the field a is bound twice/],
    [['GET /v1 response_body: "nothing"'], /^t\.S\/A: response_body: t\.M has no field "nothing"/],
    [["GET /v1 additional_bindings { body: '*' }"], /^t\.S\/A: a binding names no HTTP method/],
    [
      ['GET /v1 additional_bindings { get: "/v2" additional_bindings { get: "/v3" } }'],
      /^t\.S\/A: an additional binding has additional bindings/,
    ],
  ])("%s", (rules, message) => {
    expect(() => matcher(...rules)).toThrow(message);
  });
});
