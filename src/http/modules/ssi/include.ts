import { lowercase } from "../../../wire/latin1.ts";
import { parseUnsafeUri } from "../../../wire/uri.ts";
import { ERROR, OK } from "../../core/codes.ts";
import { sendHeader } from "../../core/engine.ts";
import { addBodyFilter, BODY_FILTER, bodyWritable, LAST, passBody } from "../../core/filters.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { subrequest } from "../../core/subrequest.ts";
import type { BodyFilter, SubrequestOptions } from "../../core/types.ts";
import type { Context } from "./context.ts";
import { evaluate } from "./evaluate.ts";
import type { Block } from "./page.ts";

/** The command `include`: puts the answer of a subrequest into the page, or into a variable. */
export function include(context: Context, [virtual, file, wait, set, stub]: readonly (string | undefined)[]): boolean {
  const { request } = context;
  if (virtual !== undefined && file !== undefined) {
    return fail(request, `inclusion may be either virtual="${virtual}" or file="${file}"`);
  }
  const text = virtual ?? file;
  if (text === undefined) return fail(request, 'no parameter in "include" SSI command');
  if (set !== undefined && stub !== undefined) {
    return fail(request, '"set" and "stub" cannot be used together in "include" SSI command');
  }
  // As in nginx, a page waits for every file.
  let waits = virtual === undefined || set !== undefined;
  if (wait !== undefined) {
    if (virtual === undefined) return fail(request, `"wait" cannot be used with file="${file}"`);
    const word = lowercase(wait);
    if (word !== "yes" && word !== "no") return fail(request, `invalid value "${wait}" in the "wait" parameter`);
    waits ||= word === "yes";
  }

  const path = evaluate(context, text);
  if (path === undefined) return false;
  // As in nginx, variables that leave nothing are no relative path.
  const relative = !path.startsWith("/") && (path !== "" || !text.includes("$"));
  const whole = relative ? request.uri.slice(0, request.uri.lastIndexOf("/") + 1) + path : path;
  const target = parseUnsafeUri(whole);
  if (target === undefined) return fail(request, `unsafe URI "${whole}" was detected`);

  let block: Block | undefined;
  if (stub !== undefined) {
    block = context.page.findBlock(stub);
    if (block === undefined) return fail(request, `"stub"="${stub}" for "include" not found`);
  }
  const output = block === undefined ? undefined : new OutputWatch();
  const options = optionsOf(context, set, block, output);
  const made = subrequest(request, target.uri, target.args, options);
  if (made === undefined) return false;
  if (output !== undefined) addBodyFilter(made, output);
  if (waits) context.wait = made;
  return true;
}

function fail(request: Request, message: string): false {
  logError(request, "error", message);
  return false;
}

function optionsOf(
  context: Context,
  set: string | undefined,
  block: Block | undefined,
  output: OutputWatch | undefined,
): SubrequestOptions {
  if (set !== undefined) return intoVariable(context, lowercase(set));
  if (block === undefined || output === undefined) return {};
  return { finalized: (made, code) => (output.seen ? code : showStub(made, code, block)) };
}

/** `set`: the answer becomes the value of a variable, unless it is an error. */
function intoVariable({ page, request }: Context, name: string): SubrequestOptions {
  const memory: { body: string | undefined } = { body: undefined };
  if (page.get(name) === undefined) page.set(name, "");
  return {
    memory,
    finalized(made, code) {
      if (made.response.status < 300 && memory.body !== undefined && !page.set(name, memory.body)) {
        logError(request, "error", `too many variables and blocks at "${name}"`);
      }
      return code;
    },
    resume: goOn,
  };
}

/** The page goes on, unless it waits for the client, or another part of the response comes first. */
function goOn({ main }: Request): void {
  if (!main.exchange.blocked && !main.connection.closed) bodyWritable(main);
}

/** `stub`: what the page has for an answer that is empty or an error. */
function showStub(made: Request, code: number, { text }: Block): number {
  if (code === ERROR || made.connection.closed) return code;
  if (!made.headerSent) {
    made.response.contentType = made.subrequest?.parent.response.contentType;
    if (sendHeader(made) === ERROR) return ERROR;
  }
  passBody(made, 0, text, LAST);
  return OK;
}

/** Whether a response has a body, seen before any other filter. */
class OutputWatch implements BodyFilter {
  readonly place = BODY_FILTER.copy;
  seen = false;

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    if (bytes.length > 0) this.seen = true;
    return passBody(request, next, bytes, flags);
  }
}
