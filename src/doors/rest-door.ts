import type { WebHandler, WebRequest, WebResponse } from "./web-handler.ts";

/** What the REST door needs of a transcoder: an answer to a request, or false with nothing written. */
export interface RestTranscoder {
  handle(request: WebRequest, response: WebResponse): Promise<boolean>;
}

/** The REST door: a transcoder as one of the web port's handlers. */
export function createRestDoor(transcoder: RestTranscoder): WebHandler {
  return (request, response) => transcoder.handle(request, response);
}
