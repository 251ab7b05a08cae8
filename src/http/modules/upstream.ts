import { defineModule } from "../conf/module.ts";
import { UPSTREAM_VARIABLES, upstreamCookie, upstreamHeader, upstreamTrailer } from "../upstream/variables.ts";

/** The variables of ngx_http_upstream_module; its `upstream` block is read by balancer/directives.ts. */
export const upstreamVariables = defineModule({
  name: "http_upstream_variables",
  directives: {},
  variables: UPSTREAM_VARIABLES,
  setup({ variables }) {
    variables.prefix("upstream_http_", upstreamHeader);
    variables.prefix("upstream_trailer_", upstreamTrailer);
    variables.prefix("upstream_cookie_", upstreamCookie);
  },
});
