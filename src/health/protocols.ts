import type { CheckDefinition } from "./definition.ts";
import type { Protocol } from "./probe.ts";
import { http } from "./probes/http.ts";
import { tcp } from "./probes/tcp.ts";

/** The protocol of a check's type. A new type is one more file in probes/ and one more line here. */
export function protocolOf(definition: CheckDefinition, server: string): Protocol {
  switch (definition.type) {
    case "tcp":
      return tcp();
    case "http":
      return http({ send: definition.send, expect: definition.expect, keep: keeps(definition) });
    default:
      throw new RangeError(`${server}: no such check`);
  }
}

function keeps({ keep }: CheckDefinition): boolean {
  return keep.requests > 1 || keep.time > 0;
}
