import { SslContext, SslError } from "../../sys/openssl/context.ts";
import {
  preferServerCiphers,
  setCiphers,
  setCurves,
  setProtocols,
  type TlsProtocol,
} from "../../sys/openssl/negotiation.ts";
import { askForCertificates, askOnClientHello } from "../../sys/openssl/ssl.ts";
import { type CertificatePairs, setCertificates } from "./certificates.ts";
import { type EarlyDataSettings, useEarlyData } from "./early_data.ts";
import { type SessionSettings, useSessions } from "./sessions.ts";

/** What a TlsContext is made of: what directives say, as it is. Undefined leaves OpenSSL's default. */
export interface TlsSettings {
  readonly side: "server" | "client";
  readonly protocols: ReadonlySet<TlsProtocol>;
  /** In OpenSSL's syntax. */
  readonly ciphers: string;
  readonly preferServerCiphers?: boolean;
  /** `asked`: each connection asks for them. */
  readonly certificates: CertificatePairs | "asked";
  /** `auto`, or names with colons between them. */
  readonly curves?: string;
  /** ssl_buffer_size, bytes */
  readonly recordSize: number;
  /** Of servers: how clients resume sessions. */
  readonly sessions?: SessionSettings;
  readonly earlyData?: EarlyDataSettings;
}

/** OpenSSL refuses a setting; the message is nginx's. */
export class TlsSettingError extends Error {
  readonly setting: keyof TlsSettings;

  constructor(setting: keyof TlsSettings, message: string) {
    super(message);
    this.setting = setting;
  }
}

type Step = (context: SslContext, settings: TlsSettings) => void;

/** Puts each setting into an SSL_CTX, in nginx's order. */
const STEPS: readonly (readonly [keyof TlsSettings, Step])[] = [
  step("protocols", setProtocols),
  step("ciphers", setCiphers),
  step("preferServerCiphers", (context, on) => on && preferServerCiphers(context)),
  step("certificates", (context, certificates) => {
    if (certificates === "asked") askForCertificates(context);
    else setCertificates({ kind: "SSL_CTX", pointer: context.pointer }, certificates);
  }),
  step("curves", setCurves),
  step("sessions", useSessions),
  step("earlyData", useEarlyData),
];

function step<S extends keyof TlsSettings>(
  setting: S,
  set: (context: SslContext, value: NonNullable<TlsSettings[S]>) => void,
): readonly [S, Step] {
  return [
    setting,
    (context, settings) => {
      const value = settings[setting];
      if (value !== undefined && value !== null) set(context, value);
    },
  ];
}

/** What connections of one `server` block, or of one proxy_pass, have in common (ngx_ssl_t). */
export class TlsContext {
  readonly ssl: SslContext;
  readonly recordSize: number;

  /** Throws TlsSettingError or CertificateError. */
  constructor(settings: TlsSettings) {
    this.ssl = new SslContext();
    this.recordSize = settings.recordSize;
    for (const [setting, set] of STEPS) {
      try {
        set(this.ssl, settings);
      } catch (error) {
        if (!(error instanceof SslError)) throw error;
        throw new TlsSettingError(setting, error.message);
      }
    }
    if (settings.side === "server") askOnClientHello(this.ssl);
  }
}
