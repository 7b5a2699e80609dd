// Far above any token of ours, far below what could make the pattern's work worth counting.
const longestHeader = 512;
const bearerPattern = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i;

/**
 * The one credential of an `Authorization: Bearer …` header value, the scheme in any case; undefined for a missing
 * header, another scheme, or anything beside the one credential, such as two headers that were joined by a comma.
 */
export function parseBearer(headerValue: string | null | undefined): string | undefined {
  if (headerValue === null || headerValue === undefined || headerValue.length > longestHeader)
    return undefined;
  return bearerPattern.exec(headerValue)?.[1];
}
