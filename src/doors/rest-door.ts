import { type ContextValues, createContextValues } from "@connectrpc/connect";
import { cutOffKey } from "../runtime/cut-off.ts";
import { peerKey } from "./door.ts";
import { requestIdKey } from "./request-id.ts";
import {
  certificateOf,
  cutOff,
  peerEndpointOf,
  requestIdIn,
  type WebCallEnds,
  type WebHandler,
  type WebRequest,
  type WebResponse,
} from "./web-handler.ts";

/** What the REST door needs of a transcoder: an answer to a request, or false with nothing written. */
export interface RestTranscoder {
  handle(request: WebRequest, response: WebResponse, ends: WebCallEnds): Promise<boolean>;
}

/** The REST door: a transcoder as one of the web port's handlers. */
export function createRestDoor(transcoder: RestTranscoder): WebHandler {
  return (request, response, ends) => transcoder.handle(request, response, ends);
}

/** What a REST call's handlers find in its context values. */
export function restContextValues(request: WebRequest, response: WebResponse): ContextValues {
  return createContextValues()
    .set(peerKey, {
      door: "rest",
      ...peerEndpointOf(request),
      certificate: () => certificateOf(request),
    })
    .set(requestIdKey, requestIdIn(response))
    .set(cutOffKey, () => cutOff(response));
}
