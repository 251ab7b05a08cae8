import type { SslContext } from "../../sys/openssl/context.ts";
import { acceptEarlyData, type EarlyDataGuard } from "../../sys/openssl/early_data.ts";
import type { SessionCache } from "./session_cache.ts";

/** `ssl_early_data on`. */
export interface EarlyDataSettings {
  /** Knows for all workers whose early data was taken. Without it nothing protects against replays, as in nginx. */
  readonly cache: SessionCache | undefined;
}

/**
 * How long a recorded ClientHello can be of use, in seconds: OpenSSL takes no early data where the age that the client says its
 * ticket has is more than 10 s from what it is.
 */
const REPLAY_WINDOW = 30;

export function useEarlyData(context: SslContext, { cache }: EarlyDataSettings): void {
  acceptEarlyData(context, cache === undefined ? ANY : new OnlyOnce(cache));
}

const ANY: EarlyDataGuard = { allowsEarlyData: () => true };

/** RFC 8446, section 8.2: a ClientHello is known by its random bytes, which its binder covers. */
class OnlyOnce implements EarlyDataGuard {
  readonly #cache: SessionCache;

  constructor(cache: SessionCache) {
    this.#cache = cache;
  }

  allowsEarlyData(clientRandom: string): boolean {
    return this.#cache.useUp(`early data ${clientRandom}`, REPLAY_WINDOW);
  }
}
