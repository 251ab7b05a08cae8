import type { CertificateBytes } from "../../sys/openssl/certificate.ts";
import { useCertificate } from "../../sys/openssl/certificate.ts";
import { SslContext } from "../../sys/openssl/context.ts";
import { askOnClientHello } from "../../sys/openssl/ssl.ts";

/** What a TlsContext is made of. */
export interface TlsSettings {
  readonly side: "server" | "client";
  readonly certificates: readonly CertificateBytes[];
  /** ssl_buffer_size, bytes */
  readonly recordSize: number;
}

/** What connections of one `server` block, or of one proxy_pass, have in common (ngx_ssl_t). */
export class TlsContext {
  readonly ssl: SslContext;
  readonly recordSize: number;

  /** Throws SslError, in nginx's words. */
  constructor({ side, certificates, recordSize }: TlsSettings) {
    this.ssl = new SslContext();
    this.recordSize = recordSize;
    for (const certificate of certificates) useCertificate(this.ssl, certificate);
    if (side === "server") askOnClientHello(this.ssl);
  }
}
