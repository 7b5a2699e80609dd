/** One alternative of an Accept or Accept-Encoding header, in lower case, and how much it is wanted (0 to 1). */
export interface Alternative {
  name: string;
  quality: number;
}

/** Parses a header of alternatives with q-weights, most wanted first; equals keep the order of the header. */
export function parseQualityList(header: string): Alternative[] {
  return header
    .split(",")
    .map(parseAlternative)
    .filter(({ name }) => name !== "")
    .sort((a, b) => b.quality - a.quality);
}

function parseAlternative(text: string): Alternative {
  const [name = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const weight = parameters.find((parameter) => /^q\s*=/.test(parameter));
  const quality = weight === undefined ? 1 : Number(weight.slice(weight.indexOf("=") + 1));
  return { name, quality: quality >= 0 && quality <= 1 ? quality : 0 };
}

/**
 * The most wanted of what is on offer (in our own order of preference), or undefined if none is acceptable.
 * `wildcards` are the names that stand for any offer.
 */
export function chooseAlternative<Offer extends string>(
  header: string,
  offers: readonly Offer[],
  wildcards: readonly string[],
): Offer | undefined {
  const wanted = parseQualityList(header);
  let best: { offer: Offer; quality: number } | undefined;
  for (const offer of offers) {
    // A named alternative decides over a wildcard, even where it refuses what the wildcard allows.
    const named =
      wanted.find(({ name }) => name === offer) ?? wanted.find(({ name }) => wildcards.includes(name));
    const quality = named?.quality ?? 0;
    if (quality > (best?.quality ?? 0)) best = { offer, quality };
  }
  return best?.offer;
}
