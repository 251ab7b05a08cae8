import type { Request } from "./request.ts";
import type { VariableSpec, Variables } from "./variables.ts";

/** nginx's variables of the core that need nothing but the request. */
const PLAIN: Readonly<Record<string, (request: Request) => string | undefined>> = {
  host: (r) => r.host,
  uri: (r) => r.uri,
  document_uri: (r) => r.uri,
  request_uri: (r) => r.unparsedUri,
  args: (r) => r.args,
  query_string: (r) => r.args,
};

/** Declares nginx's core variables. */
export function declareCoreVariables(variables: Variables): void {
  for (const [name, get] of Object.entries(PLAIN)) variables.declare(name, { get });
  variables.prefix("http_", (name) => headerVariable(name));
}

function headerVariable(name: string): VariableSpec {
  const key = name.replaceAll("_", "-");
  return { get: (request) => request.headers.join(key) };
}
