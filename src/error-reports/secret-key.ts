/*
 * Which keys name a secret. The last word decides, never a substring: `agentToken` holds a token, `tokenCount` does
 * not. Words are told apart by case, digits and everything that is no letter.
 */

const secretWords = [
  "token",
  "password",
  "passwd",
  "secret",
  "authorization",
  "cookie",
  "bearer",
  "credential",
  "session",
  "jwt",
];

/** Words that make a following `key` a secret one; `secret key` is what many vendors call a private or access key. */
const keyWords = ["api", "access", "private", "signing", "encryption", "secret"];

// Where case tells nothing, as in headers and environment variables, common pairs are written as one word. They are
// listed whole, since a rule by ending would catch words that only end alike.
const joinedWords = [
  ...keyWords.map((word) => `${word}key`),
  ...["access", "agent", "api", "auth", "bearer", "csrf", "id", "refresh", "session", "user", "xsrf"].map(
    (word) => `${word}token`,
  ),
  ...["api", "app", "client", "shared"].map((word) => `${word}secret`),
  ...["db", "pg", "user", "root", "admin"].map((word) => `${word}password`),
  "proxyauthorization",
  "setcookie",
];

const lastWords = withPlurals([...secretWords, ...joinedWords]);
const wordsBeforeKey = new Set(keyWords);
const key = withPlurals(["key"]);
const headerWords = withPlurals(["authorization", "proxyauthorization", "cookie", "setcookie"]);

// A run of capitals belongs together (`AWS`) up to the one that begins a word of its own (`AWSSecret`), and takes along
// a plural s (`JWTs`). The second reading is for `APIkey`, where the word after the run is in lower case.
const wordPatterns = [
  /\p{Lu}+s(?!\p{Ll})|\p{Lu}+(?!\p{Ll})|\p{Lu}?\p{Ll}+/gu,
  /\p{Lu}{2,}|\p{Lu}?\p{Ll}+|\p{Lu}/gu,
];

/** Whether the value under this key is a secret, by the key's last word or last two words. */
export function isSecretKey(name: string): boolean {
  return lastTwoWords(name).some(
    ([before, last]) => lastWords.has(last) || (key.has(last) && wordsBeforeKey.has(before)),
  );
}

/** Whether the key is that of an HTTP header whose value is a secret up to the end of its line. */
export function isSecretHeader(name: string): boolean {
  return lastTwoWords(name).some(([, last]) => headerWords.has(last));
}

/** The last two words by each reading, in lower case, empty where there is none. */
function lastTwoWords(name: string): (readonly [before: string, last: string])[] {
  return wordPatterns.map((pattern) => {
    const words = name.match(pattern) ?? [];
    return [(words.at(-2) ?? "").toLowerCase(), (words.at(-1) ?? "").toLowerCase()];
  });
}

function withPlurals(words: readonly string[]): ReadonlySet<string> {
  return new Set(words.flatMap((word) => [word, `${word}s`]));
}
