import { askForProtocols, setProtocolNames } from "../../sys/openssl/alpn.ts";
import { type ConfCommand, type ConfPaths, runConfCommands } from "../../sys/openssl/conf_commands.ts";
import { allowRenegotiation, SslContext, SslError } from "../../sys/openssl/context.ts";
import {
  preferServerCiphers,
  setCiphers,
  setCurves,
  setDhParameters,
  setProtocols,
  type TlsProtocol,
} from "../../sys/openssl/negotiation.ts";
import { askForCertificates, askOnClientHello } from "../../sys/openssl/ssl.ts";
import { requestCertificate, setVerifyDepth } from "../../sys/openssl/verification.ts";
import { type CertificatePairs, setCertificates } from "./certificates.ts";
import { keepClientSessions } from "./client_sessions.ts";
import { type EarlyDataSettings, useEarlyData } from "./early_data.ts";
import type { ClientOcsp } from "./ocsp/client_status.ts";
import type { Staples } from "./ocsp/staples.ts";
import { type SessionSettings, useSessions } from "./sessions.ts";
import { type TrustFile, trustAuthorities, trustCertificates, useRevocationLists } from "./verification.ts";

/** A record of TLS has at most so many bytes (NGX_SSL_BUFSIZE). */
export const RECORD_BYTES = 16_384;

/** What a TlsContext is made of: what directives say, as it is. Undefined leaves OpenSSL's default. */
export interface TlsSettings {
  readonly side: "server" | "client";
  readonly protocols: ReadonlySet<TlsProtocol>;
  /** In OpenSSL's syntax. */
  readonly ciphers: string;
  readonly preferServerCiphers?: boolean;
  /** `asked`: each connection asks for them. */
  readonly certificates: CertificatePairs | "asked";
  /** Of servers: clients are asked for a certificate. */
  readonly verifyClients?: boolean;
  readonly verifyDepth?: number;
  /** Whom clients are told to have certificates of; trusted as well. */
  readonly authorities?: TrustFile;
  readonly trusted?: TrustFile;
  /** Lists of revoked certificates. */
  readonly revoked?: TrustFile;
  /** Parameters in PEM, of the file of that name. */
  readonly dhParameters?: { readonly pem: Uint8Array; readonly name: string };
  /** `auto`, or names with colons between them. */
  readonly curves?: string;
  /** The protocols of which one is spoken, the one preferred first (ALPN); of clients, what they ask for. Undefined: whatever there is without. */
  readonly protocolNames?: readonly string[];
  /** The connection is closed when the handshake is complete. */
  readonly handshakeOnly?: boolean;
  /** ssl_buffer_size, bytes */
  readonly recordSize: number;
  /** Run last: they may change what the others have set. */
  readonly confCommands?: { readonly commands: readonly ConfCommand[]; readonly paths: ConfPaths };
  /** Of servers: how clients resume sessions. */
  readonly sessions?: SessionSettings;
  readonly earlyData?: EarlyDataSettings;
  /** Of clients: sessions are kept, to be resumed (ngx_ssl_client_session_cache). */
  readonly keepsSessions?: boolean;
}

/** OpenSSL refuses a setting; the message is nginx's. */
export class TlsSettingError extends Error {
  readonly setting: keyof TlsSettings;
  /** Of a list, which one it is about. */
  readonly item: number;

  constructor(setting: keyof TlsSettings, { message, item }: SslError) {
    super(message);
    this.setting = setting;
    this.item = item;
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
  step("verifyClients", (context, on) => on && requestCertificate(context)),
  step("verifyDepth", setVerifyDepth),
  step("authorities", trustAuthorities),
  step("trusted", trustCertificates),
  step("revoked", useRevocationLists),
  step("dhParameters", (context, { pem, name }) => setDhParameters(context, pem, name)),
  step("curves", setCurves),
  step("protocolNames", (context, names, { side }) =>
    side === "server" ? setProtocolNames(context, names) : askForProtocols(context, names),
  ),
  step("sessions", useSessions),
  step("earlyData", useEarlyData),
  step("keepsSessions", (context, on) => on && keepClientSessions(context)),
  step("confCommands", (context, { commands, paths }) => runConfCommands(context, commands, paths)),
];

function step<S extends keyof TlsSettings>(
  setting: S,
  set: (context: SslContext, value: NonNullable<TlsSettings[S]>, settings: TlsSettings) => void,
): readonly [S, Step] {
  return [
    setting,
    (context, settings) => {
      const value = settings[setting];
      if (value !== undefined && value !== null) set(context, value, settings);
    },
  ];
}

/** What connections of one `server` block, or of one proxy_pass, have in common (ngx_ssl_t). */
export class TlsContext {
  readonly ssl: SslContext;
  readonly recordSize: number;
  readonly handshakeOnly: boolean;
  /** ssl_stapling */
  staples: Staples | undefined = undefined;
  /** ssl_ocsp */
  clientOcsp: ClientOcsp | undefined = undefined;

  /** Throws TlsSettingError or CertificateError. */
  constructor(settings: TlsSettings) {
    this.ssl = new SslContext();
    this.recordSize = settings.recordSize;
    this.handshakeOnly = settings.handshakeOnly === true;
    for (const [setting, set] of STEPS) {
      try {
        set(this.ssl, settings);
      } catch (error) {
        if (!(error instanceof SslError)) throw error;
        throw new TlsSettingError(setting, error);
      }
    }
    if (settings.side === "server") askOnClientHello(this.ssl);
    else allowRenegotiation(this.ssl);
  }
}
