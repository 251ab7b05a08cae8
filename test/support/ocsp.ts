import { spawn } from "node:child_process";
import { createHash, createPrivateKey, sign, X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setCertificates } from "../../src/net/tls/certificates.ts";
import { ConfiguredCertificates } from "../../src/net/tls/configured_certificates.ts";
import { contextCertificates, findIssuer } from "../../src/sys/openssl/certificate_chain.ts";
import { SslContext } from "../../src/sys/openssl/context.ts";
import type { OcspQuestion } from "../../src/sys/openssl/ocsp.ts";
import { type Backend, httpBackend } from "./backend.ts";
import type { CertificateFiles } from "./certificates.ts";
import { kill } from "./sharing.ts";
import { waitFor } from "./wait.ts";

/** OCSP responders (RFC 6960): the openssl program's, and one that says whatever a test wants. Their keys are ECDSA's. */

export interface Said {
  readonly signer: CertificateFiles;
  readonly status?: "good" | "revoked" | "unknown";
  /** Seconds from now. */
  readonly thisUpdate?: number;
  /** Infinity: the response does not say. */
  readonly nextUpdate?: number;
  /** Not the certificate that was asked about. */
  readonly ofAnother?: boolean;
  readonly badSignature?: boolean;
  /** The signer's certificate goes along. */
  readonly certificate?: boolean;
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...head]), content]);
}

const SEQUENCE = 0x30;
const ECDSA_WITH_SHA256 = Buffer.from("300a06082a8648ce3d040302", "hex");
const BASIC_RESPONSE = Buffer.from("06092b0601050507300101", "hex");

/** The content of the element that bytes begin with. */
function contentOf(bytes: Buffer): Buffer {
  const first = bytes[1];
  const more = first < 0x80 ? 0 : first & 0x7f;
  const length = more === 0 ? first : bytes.readUIntBE(2, more);
  return bytes.subarray(2 + more, 2 + more + length);
}

/** The CertID of a request for one certificate, a whole element: behind the request, its list and that's one entry. */
function certId(request: Buffer): Buffer {
  return contentOf(contentOf(contentOf(contentOf(request))));
}

function generalizedTime(seconds: number): Buffer {
  const text = new Date(Date.now() + seconds * 1000).toISOString().replace(/[-:T]/g, "").slice(0, 14);
  return der(0x18, Buffer.from(`${text}Z`));
}

const STATUS = {
  good: () => der(0x80),
  revoked: () => der(0xa1, generalizedTime(-3600)),
  unknown: () => der(0x82),
};

/** A response to a request, both in DER. */
export function ocspResponse(
  request: Buffer,
  {
    signer,
    status = "good",
    thisUpdate = -60,
    nextUpdate = 3600,
    ofAnother = false,
    badSignature = false,
    certificate = false,
  }: Said,
): Buffer {
  const { publicKey, raw } = new X509Certificate(signer.certificate);
  // The key itself is at the end: a point of P-256.
  const point = publicKey.export({ type: "spki", format: "der" }).subarray(-65);
  const id = Buffer.from(certId(request));
  if (ofAnother) id[id.length - 1] ^= 1;
  const until = nextUpdate === Number.POSITIVE_INFINITY ? [] : [der(0xa0, generalizedTime(nextUpdate))];
  const single = der(SEQUENCE, id, STATUS[status](), generalizedTime(thisUpdate), ...until);
  const responderId = der(0xa2, der(0x04, createHash("sha1").update(point).digest()));
  const data = der(SEQUENCE, responderId, generalizedTime(0), der(SEQUENCE, single));
  const signature = sign("sha256", badSignature ? Buffer.from("other data") : data, createPrivateKey(signer.key));
  const certificates = certificate ? [der(0xa0, der(SEQUENCE, raw))] : [];
  const basic = der(SEQUENCE, data, ECDSA_WITH_SHA256, der(0x03, Buffer.from([0]), signature), ...certificates);
  return der(SEQUENCE, der(0x0a, Buffer.from([0])), der(0xa0, der(SEQUENCE, BASIC_RESPONSE, der(0x04, basic))));
}

/** The request in the URL of a GET (RFC 6960, appendix A.1). */
export function requestIn(url: string): Buffer {
  return Buffer.from(decodeURIComponent(url.slice(url.lastIndexOf("/") + 1)), "base64");
}

/** A responder that says of every certificate what `said` returns; `asked` counts the requests. */
export async function saidResponder(
  t: TestContext,
  said: () => Said,
  port?: number,
): Promise<Backend & { readonly asked: number }> {
  let asked = 0;
  const backend = await httpBackend(
    t,
    (request, response) => {
      asked++;
      response.setHeader("Content-Type", "application/ocsp-response");
      response.end(ocspResponse(requestIn(request.url ?? ""), said()));
    },
    port,
  );
  return Object.create(backend, { asked: { get: () => asked } });
}

/** A context with a certificate and its chain. */
export function contextOf(...chain: readonly CertificateFiles[]): SslContext {
  const context = new SslContext();
  const source = new ConfiguredCertificates(() => Buffer.alloc(0), new Map());
  const certificate = `data:${chain.map((one) => one.certificate).join("")}`;
  setCertificates(
    { kind: "SSL_CTX", pointer: context.pointer },
    { pairs: [{ certificate, key: `data:${chain[0].key}` }], source, passwords: [] },
  );
  return context;
}

/** The question that is asked about a certificate, which comes with its issuer's. */
export function questionAbout(...chain: readonly CertificateFiles[]): OcspQuestion {
  const context = contextOf(...chain);
  const [own] = contextCertificates(context);
  const issuer = findIssuer(context, own);
  if (issuer === undefined) throw new Error("the issuer's certificate is missing");
  return { certificate: own.certificate, issuer, chain: own.chain, context, signer: "any" };
}

/** `openssl ocsp` for the certificates of an issuer; those in `revoked` (serial numbers, hexadecimal) are revoked. */
export async function opensslResponder(
  t: TestContext,
  {
    directory,
    issuer,
    valid = [],
    revoked = [],
    port,
  }: {
    readonly directory: string;
    readonly issuer: CertificateFiles;
    readonly valid?: readonly string[];
    readonly revoked?: readonly string[];
    readonly port: number;
  },
): Promise<void> {
  const index = join(directory, `ocsp-${port}.txt`);
  const line = (kind: string, at: string, serial: string) =>
    `${kind}\t491231235959Z\t${at}\t${serial}\tunknown\t/CN=${serial}\n`;
  const lines = [
    ...valid.map((serial) => line("V", "", serial)),
    ...revoked.map((serial) => line("R", "260101000000Z", serial)),
  ];
  writeFileSync(index, lines.join(""));
  const { certificateFile, keyFile } = issuer;
  const child = spawn(
    "openssl",
    [
      ...["ocsp", "-index", index, "-port", String(port), "-ndays", "1", "-ignore_err"],
      ...["-rsigner", certificateFile, "-rkey", keyFile, "-CA", certificateFile],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  t.after(() => kill(child));
  // A connection without a request would keep it.
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (bytes) => {
      said += String(bytes);
    });
  }
  await waitFor(() => said.includes("waiting for OCSP client connections"), `openssl ocsp on port ${port}`);
}
