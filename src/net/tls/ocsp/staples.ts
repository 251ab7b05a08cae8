import type { Staple } from "./staple_zone.ts";

/** Where the response for a certificate is found: a slot in shared memory, or what was read of ssl_stapling_file. */
export interface StapleSource {
  read(): Staple | undefined;
}

/** The OCSP responses that a server sends along with its certificates, by the pointers of these. */
export class Staples {
  readonly #sources = new Map<bigint, StapleSource>();

  put(certificate: bigint, source: StapleSource): void {
    this.#sources.set(certificate, source);
  }

  /** Undefined where there is none, or none that is still valid. */
  responseFor(certificate: bigint): Uint8Array | undefined {
    const staple = this.#sources.get(certificate)?.read();
    return staple !== undefined && staple.validUntil >= Math.floor(Date.now() / 1000) ? staple.response : undefined;
  }
}
