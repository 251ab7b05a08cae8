import { FieldSet } from "../../wire/http1/field_set.ts";
import * as known from "../../wire/http1/known_fields.ts";
import { OK } from "../core/codes.ts";
import { sendFilteredHeader, sendHeader } from "../core/engine.ts";
import type { Location } from "../core/location.ts";
import type { Request } from "../core/request.ts";
import { copyFields, newResponse } from "../core/response.ts";
import type { Response } from "../core/types.ts";
import type { AnswerHead } from "../core/upstream.ts";
import { copyResponse } from "../upstream/headers.ts";
import type { Passing, ResponseRules } from "../upstream/settings.ts";

/** What the filters that `Location.filtersConditions` speaks of look for in a request. */
const CONDITIONS = new FieldSet([
  "if-modified-since",
  "if-unmodified-since",
  "if-match",
  "if-none-match",
  "range",
  "if-range",
]);

/**
 * The head of a response in memory, as the location that was asked for it last makes it: taken as it is by further requests
 * there, as far as it does not depend on them.
 */
export class HeldHead {
  private location: Location | undefined = undefined;
  private made: Response | undefined = undefined;
  /** It has passed the filters, too. */
  private filtered = false;

  /** Sends the head. Returns what `sendHeader` does. */
  send(request: Request, answer: AnswerHead, passing: Passing): number {
    const { location, response } = request;
    const filtered = location.filtersConditions && hasNoConditions(request);
    if (this.location === location && this.made !== undefined && this.filtered === filtered) {
      copyFields(response, this.made);
      return filtered ? sendFilteredHeader(request) : sendHeader(request);
    }
    if (answer.version === 9) request.version = 9;
    copyResponse(request, answer, passing.rules, passing.settings);
    const kept = filtered === location.filtersConditions && !dependsOnRequest(answer, passing.rules);
    if (kept && !filtered) this.keep(location, response, false);
    const code = sendHeader(request);
    if (kept && filtered && code === OK && hasPlainFraming(response)) this.keep(location, response, true);
    return code;
  }

  private keep(location: Location, response: Response, filtered: boolean): void {
    const made = newResponse();
    copyFields(made, response);
    if (filtered) made.lines = { before: "", after: "" };
    this.location = location;
    this.made = made;
    this.filtered = filtered;
  }
}

function hasNoConditions(request: Request): boolean {
  if (request !== request.main || request.errorStatus !== 0 || request.version < 1000) return false;
  const { headers } = request;
  for (let at = 0; at < headers.count; at++) if (CONDITIONS.holds(headers, at)) return false;
  return true;
}

/** Whether `copyResponse` makes another response for another request. */
function dependsOnRequest({ version, headers, xAccelLimitRate }: AnswerHead, rules: ResponseRules): boolean {
  if (version === 9 || xAccelLimitRate !== undefined) return true;
  for (let at = 0; at < headers.count; at++) {
    const number = headers.number(at);
    if (number === known.UPGRADE || number === known.LOCATION) return true;
    if (number === known.REFRESH && rules.refresh !== undefined) return true;
    if (number === known.SET_COOKIE && rules.cookie !== undefined) return true;
  }
  return false;
}

/** It has a body, whose length is known. */
function hasPlainFraming({ status, contentLength, trailers }: Response): boolean {
  return status >= 200 && status !== 204 && status !== 304 && contentLength >= 0 && trailers === undefined;
}
