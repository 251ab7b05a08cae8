import { fail, placeIn, type Scope } from "../../config/schema.ts";
import { CertificateError, type CertificatePairs, type CertificateSource } from "../../net/tls/certificates.ts";
import { RECORD_BYTES, TlsContext, TlsSettingError, type TlsSettings } from "../../net/tls/context.ts";
import {
  certificateName,
  certificatesOf,
  confPathsOf,
  contentsDigest,
  digestText,
  keyName,
  readPasswordFile,
} from "../../runtime/certificates.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { certificateSource } from "../conf/certificate_cache.ts";
import type { Place } from "../conf/module.ts";
import type { Template } from "../core/script.ts";
import type { SslSettings, SslTable, WithSsl } from "./ssl_directives.ts";

/** A certificate whose name, or whose key's name, has variables. */
export interface VariableCertificate {
  readonly certificate: Template;
  readonly key: Template;
  readonly source: CertificateSource;
  readonly passwords: CertificatePairs["passwords"];
  readonly cycle: Pick<Cycle, "path">;
}

/** A location's settings for TLS to servers (ngx_http_upstream_conf_t, ssl_…). */
export interface UpstreamTls {
  readonly context: TlsContext;
  /** …_ssl_name; undefined for the host of the URL. */
  readonly name: Template | undefined;
  /** …_ssl_server_name */
  readonly sendsName: boolean;
  readonly verifies: boolean;
  readonly certificate: VariableCertificate | undefined;
  readonly reusesSessions: boolean;
  /** Stands for all that matters to a connection once it is there; the same in every cycle that has the same. */
  readonly identity: string;
}

/** Which directive says what, without the prefix. */
const DIRECTIVES: Partial<Readonly<Record<keyof TlsSettings, keyof SslSettings>>> = {
  protocols: "ssl_protocols",
  ciphers: "ssl_ciphers",
  certificates: "ssl_certificate",
  verifyDepth: "ssl_verify_depth",
  trusted: "ssl_trusted_certificate",
  revoked: "ssl_crl",
  confCommands: "ssl_conf_command",
};

/**
 * Makes these settings from what `upstreamSslDirectives(prefix)` read for a location (ngx_http_proxy_set_ssl). `specs`: the
 * module's table; `protocolNames`: what is asked for by ALPN. Throws ConfigError.
 */
export function upstreamTls<P extends string>(
  raw: WithSsl<P>,
  prefix: P,
  specs: SslTable,
  { http: { cycle }, scope }: Place,
  protocolNames?: readonly string[],
): UpstreamTls {
  const values: Readonly<Record<string, unknown>> = raw;
  const settings: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(values)) {
    if (name.startsWith(`${prefix}_ssl_`)) settings[name.slice(prefix.length + 1)] = value;
  }
  // The compiler cannot follow names that are made at run time.
  const read = settings as SslSettings;
  const refuse = (name: keyof SslSettings, message: string): never =>
    fail(placeIn(scope, specs[`${prefix}_${name}`]), message);
  const { pairs, variable } = certificates(read, prefix, cycle, refuse);
  const { ssl_verify: verifies, ssl_trusted_certificate: trusted, ssl_crl: revoked } = read;
  if (verifies && trusted === "") refuse("ssl_verify", `no ${prefix}_ssl_trusted_certificate for ${prefix}_ssl_verify`);
  const source = certificatesOf(cycle);
  const file = (name: string) => (verifies && name !== "" ? { path: cycle.path(name, "conf"), source } : undefined);
  const commands = read.ssl_conf_command.map(({ args: [name, value] }) => ({ name, value }));
  const tls: TlsSettings = {
    side: "client",
    protocols: read.ssl_protocols,
    ciphers: read.ssl_ciphers,
    certificates: pairs,
    verifyDepth: verifies ? read.ssl_verify_depth : undefined,
    trusted: file(trusted),
    revoked: file(revoked),
    protocolNames,
    recordSize: RECORD_BYTES,
    confCommands: commands.length === 0 ? undefined : { commands, paths: confPathsOf(cycle) },
    keepsSessions: read.ssl_session_reuse,
  };
  const identity = identityOf(tls, cycle);
  const made: UpstreamTls = {
    context: contextOf(tls, identity, cycle, (error) => {
      if (error instanceof CertificateError) {
        return refuse(error.of === "key" ? "ssl_certificate_key" : "ssl_certificate", error.message);
      }
      const at = error.setting === "confCommands" ? read.ssl_conf_command.at(error.item) : undefined;
      return at === undefined
        ? refuse(DIRECTIVES[error.setting] ?? "ssl_verify", error.message)
        : fail(at, error.message);
    }),
    name: read.ssl_name,
    sendsName: read.ssl_server_name,
    verifies,
    certificate: variable,
    reusesSessions: read.ssl_session_reuse,
    identity,
  };
  ofScope.set(scope, made);
  return made;
}

/** By the location's scope. */
const ofScope = new WeakMap<Scope, UpstreamTls>();

/** What was made for a location; undefined where it passes nothing to https://. */
export function upstreamTlsOf(scope: Scope): UpstreamTls | undefined {
  return ofScope.get(scope);
}

/** The certificate of the context, or one for each connection. */
function certificates(
  {
    ssl_certificate: certificate,
    ssl_certificate_key: key,
    ssl_certificate_cache: cache,
    ssl_password_file: file,
  }: SslSettings,
  prefix: string,
  cycle: Cycle,
  refuse: (name: keyof SslSettings, message: string) => never,
): { readonly pairs: CertificatePairs; readonly variable: VariableCertificate | undefined } {
  const passwords = file && readPasswordFile(cycle, file);
  const none = { pairs: [], source: certificatesOf(cycle), passwords };
  if (certificate === undefined || certificate.text === "") return { pairs: none, variable: undefined };
  if (key === undefined) {
    refuse("ssl_certificate", `no "${prefix}_ssl_certificate_key" is defined for certificate "${certificate.text}"`);
  }
  if (certificate.constant === undefined || key.constant === undefined) {
    // Nobody may be asked for a password while requests wait.
    const variable = { certificate, key, source: certificateSource(cache), passwords: passwords ?? [], cycle };
    return { pairs: none, variable };
  }
  const pair = { certificate: certificateName(cycle, certificate.constant), key: keyName(cycle, key.constant) };
  return { pairs: { ...none, pairs: [pair] }, variable: undefined };
}

const contexts = new WeakMap<Cycle, Map<string, TlsContext>>();

/** An SSL_CTX is large: locations of a cycle that have the same settings share one. */
function contextOf(
  tls: TlsSettings,
  identity: string,
  cycle: Cycle,
  refuse: (error: CertificateError | TlsSettingError) => never,
): TlsContext {
  let known = contexts.get(cycle);
  if (known === undefined) {
    known = new Map();
    contexts.set(cycle, known);
  }
  let context = known.get(identity);
  if (context === undefined) {
    try {
      context = new TlsContext(tls);
    } catch (error) {
      if (!(error instanceof CertificateError || error instanceof TlsSettingError)) throw error;
      return refuse(error);
    }
    known.set(identity, context);
  }
  return context;
}

/** A text that only the same settings have, with the same contents of their files. */
function identityOf(
  {
    protocols,
    ciphers,
    certificates,
    verifyDepth,
    trusted,
    revoked,
    confCommands,
    keepsSessions,
    protocolNames,
  }: TlsSettings,
  cycle: Cycle,
): string {
  const file = (path: string | undefined) => (path === undefined ? undefined : [path, contentsDigest(path, cycle)]);
  const pairs = typeof certificates === "string" ? [] : certificates.pairs;
  const all = [
    [...protocols].sort(),
    ciphers,
    pairs.map(({ certificate, key }) => [file(certificate), file(key)]),
    [verifyDepth, file(trusted?.path), file(revoked?.path)],
    confCommands?.commands,
    keepsSessions,
    protocolNames,
  ];
  return digestText(Buffer.from(JSON.stringify(all)));
}

/** A certificate of variables, as it is for one request: names that are never shown. */
export function renderedPair(
  { cycle }: VariableCertificate,
  certificate: string,
  key: string,
): CertificatePairs["pairs"][number] {
  return { certificate: certificateName(cycle, certificate), key: keyName(cycle, key) };
}
