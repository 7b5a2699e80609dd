/** What every list of the API takes and gives. */
interface Page {
  nextPageToken: string;
}

/** Reads a list page by page until its end, or until `most` pages. */
export async function allPages<P extends Page, T>(
  read: (page: { pageSize: number; pageToken: string }) => Promise<P>,
  itemsOf: (page: P) => T[],
  most = 50,
): Promise<T[]> {
  const items: T[] = [];
  let pageToken = "";
  for (let count = 0; count < most; count++) {
    const page = await read({ pageSize: 1000, pageToken });
    for (const item of itemsOf(page)) items.push(item);
    pageToken = page.nextPageToken;
    if (pageToken === "") break;
  }
  return items;
}
