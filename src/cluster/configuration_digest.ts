import type { SerializedDirectives } from "../config/serialize.ts";
import { crypto } from "../sys/builtin.ts";

/** Which node this one is differs from node to node, and where directives stand may. */
const OWN = /\["self",\["[^"]*"\],\d+,\d+\]/g;

/** A short digest of a configuration, the same on all nodes that have the same one. */
export function configurationDigest([, ...parts]: SerializedDirectives): string {
  const hash = crypto().createHash("sha256");
  for (const part of parts) hash.update(part.replaceAll(OWN, ""));
  return hash.digest("hex").slice(0, 12);
}
