import { type CompiledRegex, RegexMatchError } from "../../regex/regex.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";
import { type HostPort, validateHost } from "../../wire/host.ts";
import { matchServer } from "../conf/server_names.ts";
import type { Server } from "../core/location.ts";
import type { ClientTls } from "../core/types.ts";
import type { AddressConfig } from "./types.ts";

/** A server that was found by the name that a client asks for in its TLS handshake. */
export interface Negotiated {
  readonly name: string;
  readonly server: Server;
  readonly regex: CompiledRegex | undefined;
}

const parts: HostPort = { host: "", port: 0 };

/** ngx_http_ssl_servername: `name` is a byte string as the client sent it. Throws RegexMatchError. */
export function negotiatedServer({ names }: AddressConfig, name: string): Negotiated | undefined {
  if (!validateHost(name, parts)) return undefined;
  const { host } = parts;
  let regex: CompiledRegex | undefined;
  const server = matchServer(names, host, [], (matched) => {
    regex = matched;
  });
  return server === undefined ? undefined : { name: host, server, regex };
}

/** What a handshake has agreed on. The server is that of the configuration in force: a reload may have come since. */
export class AgreedTls implements ClientTls {
  readonly ssl: SslConnection;
  certificateFailure: string | undefined = undefined;
  readonly #host: { readonly config: AddressConfig };
  readonly #asked: string | undefined;
  #config: AddressConfig;
  #found: Negotiated | undefined;
  /** By what the client was verified. */
  readonly #verification: string;

  /** `asked`: the name that the client asked for; `found`: the server that has it in the configuration of the handshake. */
  constructor(
    ssl: SslConnection,
    host: { readonly config: AddressConfig },
    config: AddressConfig,
    asked: string | undefined,
    found: Negotiated | undefined,
  ) {
    this.ssl = ssl;
    this.#host = host;
    this.#config = config;
    this.#asked = asked;
    this.#found = found;
    this.#verification = verificationOf(config, found);
  }

  get server(): Server {
    return this.#negotiated()?.server ?? this.#config.defaultServer;
  }

  get name(): string | undefined {
    return this.#negotiated()?.name;
  }

  get regex(): CompiledRegex | undefined {
    return this.#negotiated()?.regex;
  }

  get outdated(): boolean {
    const found = this.#negotiated();
    return verificationOf(this.#config, found) !== this.#verification;
  }

  #negotiated(): Negotiated | undefined {
    const { config } = this.#host;
    if (config !== this.#config) {
      this.#config = config;
      this.#found = this.#asked === undefined ? undefined : foundAgain(config, this.#asked);
    }
    return this.#found;
  }
}

/** Of the server whose context the handshake has, or would have. */
function verificationOf({ defaultServer }: AddressConfig, found: Negotiated | undefined): string {
  const { tls } = found?.server ?? defaultServer;
  return (tls.context === undefined ? defaultServer.tls : tls).verification;
}

function foundAgain(config: AddressConfig, asked: string): Negotiated | undefined {
  try {
    return negotiatedServer(config, asked);
  } catch (error) {
    if (error instanceof RegexMatchError) return undefined;
    throw error;
  }
}
