import { MemcachedReader } from "../../wire/memcached.ts";
import type { UpstreamCodec, UpstreamProtocol } from "./protocol.ts";

/** memcached. `target.head` is the command. `gzipFlag`: a value that has one of these flags is compressed. */
export function memcachedProtocol(gzipFlag: number): UpstreamProtocol {
  return {
    identity: `memcached\0${gzipFlag}`,
    open(port): UpstreamCodec {
      const reader = new MemcachedReader(gzipFlag, (level, sentence) => port.log(level, sentence));
      return {
        reader,
        requestHead(head) {
          reader.expect(head);
          return head;
        },
        bodyCoding: () => undefined,
      };
    },
  };
}
