import type { KeyObject } from "node:crypto";
import { parseIpv4, parseIpv6 } from "../../../net/ip.ts";
import { certificatePem, challengeCertificate } from "./certificate_request.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import { keyPem } from "./keys.ts";
import { AcmeError } from "./problem.ts";

/** The answers to challenges, which the checker puts into the zone for the workers to give. */

export type ChallengeType = "http-01" | "tls-alpn-01";

/** RFC 8555 section 8.3 */
export const HTTP_PREFIX = "/.well-known/acme-challenge/";

export function challengeKey(type: ChallengeType, asked: string): string {
  return `${type} ${asked}`;
}

/** Whether an entry of the zone is the answer to a challenge. */
export function isChallenge(key: string): boolean {
  return /^(?:http|tls-alpn)-01 /.test(key);
}

/** A challenge that is to be answered. */
export interface Asked {
  readonly type: ChallengeType;
  readonly identifier: string;
  readonly token: string;
}

/** Makes the answer known to all workers. `key`: the certificate's. Throws AcmeError where there is no room for it. */
export function answerChallenge(zone: CertificateZone, asked: Asked, keyAuthorization: string, key: KeyObject): void {
  const answer = asked.type === "http-01" ? keyAuthorization : tlsAnswer(asked.identifier, keyAuthorization, key);
  if (!zone.write(keyOf(asked), answer)) throw new AcmeError(`no memory in zone "${zone.name}" for a challenge`);
}

export function forgetChallenge(zone: CertificateZone, asked: Asked): void {
  zone.remove(keyOf(asked));
}

/** http-01 is asked for by its token, tls-alpn-01 by the name. */
function keyOf({ type, identifier, token }: Asked): string {
  return challengeKey(type, type === "http-01" ? token : identifier);
}

/** The certificate and its key, in PEM. */
function tlsAnswer(identifier: string, keyAuthorization: string, key: KeyObject): string {
  const type = parseIpv4(identifier) === undefined && parseIpv6(identifier) === undefined ? "dns" : "ip";
  return certificatePem(challengeCertificate({ type, value: identifier }, keyAuthorization, key)) + keyPem(key);
}
