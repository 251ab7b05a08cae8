import type { Variables } from "../core/script.ts";
import { CONNECTION_VARIABLES, tlvVariable } from "./connection.ts";
import { argumentVariable, cookieVariable, headerVariable, REQUEST_VARIABLES } from "./request.ts";
import { RESPONSE_VARIABLES, sentVariable, trailerVariable } from "./response.ts";

/** Declares nginx's core variables (ngx_http_variables.c). */
export function declareCoreVariables(variables: Variables): void {
  for (const table of [CONNECTION_VARIABLES, REQUEST_VARIABLES, RESPONSE_VARIABLES]) {
    for (const [name, spec] of Object.entries(table)) variables.declare(name, spec);
  }
  variables.prefix("http_", headerVariable);
  variables.prefix("sent_http_", sentVariable);
  variables.prefix("sent_trailer_", trailerVariable);
  variables.prefix("cookie_", cookieVariable);
  variables.prefix("arg_", argumentVariable);
  variables.prefix("proxy_protocol_tlv_", tlvVariable);
}
