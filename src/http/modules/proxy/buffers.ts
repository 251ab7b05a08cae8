import { failAtEnd } from "../../../config/directives.ts";
import type { Scope, SettingsOf } from "../../../config/schema.ts";
import type { proxyDirectives } from "./directives.ts";

const MAXIMUM = 'the maximum of the value of "proxy_buffer_size" and one of the "proxy_buffers"';

/** nginx's refusals of buffers that do not fit one another, found when the `http` block is complete. */
export function checkBuffers(raw: SettingsOf<typeof proxyDirectives>, http: Scope): void {
  const { count, size } = raw.proxy_buffers;
  if (count < 2) failAtEnd(http, 'there must be at least 2 "proxy_buffers"');
  const largest = Math.max(raw.proxy_buffer_size, size);
  const busy = raw.proxy_busy_buffers_size ?? 2 * largest;
  if (busy < largest) failAtEnd(http, `"proxy_busy_buffers_size" must be equal to or greater than ${MAXIMUM}`);
  if (busy > (count - 1) * size) {
    failAtEnd(http, '"proxy_busy_buffers_size" must be less than the size of all "proxy_buffers" minus one buffer');
  }
  if ((raw.proxy_temp_file_write_size ?? 2 * largest) < largest) {
    failAtEnd(http, `"proxy_temp_file_write_size" must be equal to or greater than ${MAXIMUM}`);
  }
  const file = raw.proxy_max_temp_file_size;
  if (file !== 0 && file < largest) {
    failAtEnd(
      http,
      `"proxy_max_temp_file_size" must be equal to zero to disable temporary files usage or must be equal to or greater than ${MAXIMUM}`,
    );
  }
}
