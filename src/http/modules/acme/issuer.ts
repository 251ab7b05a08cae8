import { fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import type { ErrorLog } from "../../../runtime/log/log.ts";
import { crypto } from "../../../sys/builtin.ts";
import { errnoCode, errnoText } from "../../../sys/errno.ts";
import type { HttpBuild } from "../../conf/module.ts";
import { resolvingIn } from "../../conf/resolver.ts";
import type { ChallengeType } from "./challenges.ts";
import type { AccountOptions, ExternalAccount } from "./client.ts";
import { issuerDirectives, utf8Of } from "./issuer_directives.ts";
import { AccountKey } from "./jws.ts";
import type { KeyType, Order } from "./order.ts";
import { StateDirectory } from "./state_directory.ts";
import type { TransportOptions } from "./transport.ts";

/** All that the checker needs to know of an issuer. */
export interface Issuer {
  readonly name: string;
  /** The directory's URL. */
  readonly uri: string;
  /** The type of the account's key, or the key itself in PEM. */
  readonly accountKey: KeyType | { readonly pem: Uint8Array };
  readonly challenge: ChallengeType;
  /** common_name_in_csr */
  readonly commonName: boolean;
  readonly account: AccountOptions;
  readonly preferredChain: string | undefined;
  readonly profile: { readonly name: string; readonly required: boolean } | undefined;
  readonly transport: Omit<TransportOptions, "signal">;
  readonly state: StateDirectory | undefined;
  readonly orders: readonly Order[];
}

/** What an `acme_issuer` block says. Throws ConfigError. */
export function issuerOf(block: Scope, http: HttpBuild, log: ErrorLog): Omit<Issuer, "orders"> {
  const [name] = block.directive.args;
  const { cycle, directories } = http;
  const settings = issuerDirectives.in(block);
  const { resolver, timeout } = resolvingIn(http, log);
  if (resolver === undefined) fail(block.directive, 'acme_issuer: "resolver" is not configured');
  const path = cycle.path(settings.state_path ?? `acme_${name}`);
  const state = settings.state_path === "off" ? undefined : new StateDirectory(path);
  if (state !== undefined) directories.add(path);
  const { account_key: accountKey, ssl_trusted_certificate: trusted, external_account_key: external } = settings;
  return {
    name,
    uri: utf8Of(settings.uri ?? ""),
    accountKey: "file" in accountKey ? { pem: readAccountKey(cycle, accountKey) } : accountKey,
    challenge: settings.challenge,
    commonName: settings.common_name_in_csr,
    account: {
      contacts: settings.contact,
      acceptsTerms: settings.accept_terms_of_service,
      external: external && readExternalAccount(cycle, external),
    },
    preferredChain: settings.preferred_chain,
    profile: settings.profile,
    transport: {
      resolver,
      resolverTimeout: timeout,
      verify: settings.ssl_verify,
      trusted: settings.ssl_verify && trusted !== undefined ? readTrusted(cycle, trusted) : undefined,
    },
    state,
  };
}

interface FileSetting {
  readonly file: string;
  readonly at: Directive;
}

/**
 * A file of the configuration. Where it is read, which is in the master, it is checked; there is no need for OpenSSL in all
 * others. `what` stands before the reason why it cannot be used.
 */
function readFile(
  cycle: Cycle,
  { file, at }: FileSetting,
  what: string,
  check: (bytes: Uint8Array) => void,
): Uint8Array {
  const path = cycle.path(file, "conf");
  const first = !cycle.data.files.has(path);
  let bytes: Uint8Array;
  try {
    bytes = cycle.readFile(path);
  } catch (error) {
    const code = errnoCode(error);
    if (code === undefined) throw error;
    fail(at, `${what}: open() "${path}" failed ${errnoText(code)}`);
  }
  if (!first) return bytes;
  try {
    check(bytes);
  } catch (error) {
    fail(at, `${what}: ${error instanceof Error ? error.message : String(error)} in "${path}"`);
  }
  return bytes;
}

function readAccountKey(cycle: Cycle, setting: FileSetting): Uint8Array {
  return readFile(cycle, setting, "acme_issuer: cannot load account key", (bytes) => {
    new AccountKey(crypto().createPrivateKey(Buffer.from(bytes)));
  });
}

function readExternalAccount(
  cycle: Cycle,
  { kid, key, at }: { readonly kid: string; readonly key: string; readonly at: Directive },
): ExternalAccount {
  const written = key.startsWith("data:")
    ? key.slice("data:".length)
    : Buffer.from(readFile(cycle, { file: key, at }, at.name, () => {})).latin1Slice();
  const text = written.trim();
  if (!/^[\w-]+={0,2}$/.test(text)) fail(at, `"${at.name}" directive invalid base64url encoded value`);
  return { kid, key: Buffer.from(text, "base64url") };
}

const CERTIFICATE = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]+-----END [A-Z0-9 ]+-----/g;

function readTrusted(cycle: Cycle, setting: FileSetting): readonly string[] {
  const split = (bytes: Uint8Array): readonly string[] => Buffer.from(bytes).latin1Slice().match(CERTIFICATE) ?? [];
  const bytes = readFile(cycle, setting, "acme_issuer: cannot load trusted certificate", (read) => {
    const certificates = split(read);
    if (certificates.length === 0) throw new Error("no certificate");
    for (const pem of certificates) new (crypto().X509Certificate)(pem);
  });
  return split(bytes);
}
