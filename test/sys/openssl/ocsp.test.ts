/** What is believed of OCSP responses, and that no response, however broken, does more than be refused. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { certificateKey, contextCertificates, findIssuer } from "../../../src/sys/openssl/certificate_chain.ts";
import { SslError } from "../../../src/sys/openssl/context.ts";
import {
  CERTSTATUS_GOOD,
  CERTSTATUS_REVOKED,
  certificateStatusText,
  firstOcspResponse,
  type OcspQuestion,
  ocspRequest,
  readOcspResponse,
} from "../../../src/sys/openssl/ocsp.ts";
import {
  type CertificateFiles,
  certificateDirectory,
  createCertificate,
  noOpenssl,
} from "../../support/certificates.ts";
import { contextOf, ocspResponse, questionAbout, type Said } from "../../support/ocsp.ts";
import { generator } from "../../support/reference_nginx.ts";

const AUTHORITY = ["basicConstraints=critical,CA:TRUE"];

interface World {
  readonly root: CertificateFiles;
  readonly end: CertificateFiles;
  /** Signed by the root, with the right to sign responses, and without it. */
  readonly delegate: CertificateFiles;
  readonly stranger: CertificateFiles;
  readonly question: OcspQuestion;
  readonly request: Buffer;
}

/** A context whose certificate comes with its issuer's. */
function makeWorld(t: TestContext): World {
  const directory = certificateDirectory(t);
  const root = createCertificate(directory, "root", { extensions: AUTHORITY });
  const end = createCertificate(directory, "end", { issuer: root });
  const delegate = createCertificate(directory, "delegate", {
    issuer: root,
    extensions: ["extendedKeyUsage=OCSPSigning"],
  });
  const stranger = createCertificate(directory, "stranger", { extensions: AUTHORITY });
  const question = questionAbout(end, root);
  return { root, end, delegate, stranger, question, request: ocspRequest(question) };
}

function refusal(bytes: Buffer, question: OcspQuestion): string {
  try {
    readOcspResponse(bytes, question);
  } catch (error) {
    assert.ok(error instanceof SslError);
    return error.message;
  }
  return "";
}

test("a response says how its certificate is, and for how long", { skip: noOpenssl }, (t) => {
  const { root, delegate, question, request } = makeWorld(t);
  const read = (said: Omit<Said, "signer">, signer = root) =>
    readOcspResponse(ocspResponse(request, { signer, ...said }), question);
  const now = Math.floor(Date.now() / 1000);
  const good = read({ nextUpdate: 7200 });
  assert.equal(good.status, CERTSTATUS_GOOD);
  assert.ok(Math.abs(good.validUntil - now - 7200) < 60);
  assert.equal(read({ status: "revoked" }).status, CERTSTATUS_REVOKED);
  assert.equal(certificateStatusText(read({ status: "unknown" }).status), "unknown");
  assert.equal(read({ nextUpdate: Number.POSITIVE_INFINITY }).validUntil, Number.POSITIVE_INFINITY);
  assert.equal(read({ certificate: true }, delegate).status, CERTSTATUS_GOOD);
});

test("what is not to be believed is refused, in nginx's words", { skip: noOpenssl }, (t) => {
  const { root, delegate, stranger, question, request } = makeWorld(t);
  const refused = (said: Partial<Said>, asked: OcspQuestion = question) =>
    refusal(ocspResponse(request, { signer: root, ...said }), asked);
  assert.match(refused({ badSignature: true }), /^OCSP_basic_verify\(\) failed \(SSL: error:.*signature/);
  assert.match(refused({ signer: stranger }), /^OCSP_basic_verify\(\) failed .*signer certificate not found/);
  assert.equal(refused({ ofAnother: true }), "certificate status not found in the OCSP response");
  assert.match(refused({ nextUpdate: -3000 }), /^OCSP_check_validity\(\) failed .*status expired/);
  assert.match(refused({ thisUpdate: 3000 }), /^OCSP_check_validity\(\) failed .*status not yet valid/);
  // Clocks may differ.
  assert.equal(refused({ thisUpdate: 200 }), "");
  // Nothing is trusted here but what comes with the certificate.
  const verified: OcspQuestion = { ...question, signer: "verified" };
  assert.match(refused({ signer: delegate, certificate: true }, verified), /^OCSP_basic_verify\(\) failed/);
  const later = Buffer.from("30030a0103", "hex");
  assert.equal(refusal(later, question), "OCSP response not successful (3: trylater)");
  assert.match(refusal(Buffer.from("HTTP"), question), /^d2i_OCSP_RESPONSE\(\) failed \(SSL: error:/);
  assert.match(refusal(Buffer.alloc(0), question), /^d2i_OCSP_RESPONSE\(\) failed/);
  assert.match(refusal(Buffer.from("30030a0100", "hex"), question), /^OCSP_response_get1_basic\(\) failed/);
});

test("a response in a file ends where its DER does", { skip: noOpenssl }, (t) => {
  const { root, request } = makeWorld(t);
  const response = ocspResponse(request, { signer: root });
  assert.deepEqual(firstOcspResponse(Buffer.concat([response, Buffer.from("more")]), "failed"), response);
  assert.throws(() => firstOcspResponse(response.subarray(0, -1), "failed"), /^Error: failed \(SSL: error:/);
});

test("issuers are found in the chain", { skip: noOpenssl }, (t) => {
  const { root, end, stranger, question } = makeWorld(t);
  const alone = contextOf(end);
  assert.equal(findIssuer(alone, contextCertificates(alone)[0]), undefined);
  const wrong = contextOf(end, stranger, root);
  assert.ok(findIssuer(wrong, contextCertificates(wrong)[0]) !== undefined);
  assert.equal(certificateKey(question.certificate, question.issuer.pointer)?.length, 20 + 20 + 22);
});

/** How many responses are mutated. */
const MUTATIONS = 5000;
/** A leak of what is made of a response would be 25 MB. */
const ALLOWED_GROWTH = 12e6;

test("mutated responses are refused or read, and leave no memory behind", { skip: noOpenssl }, (t) => {
  const { root, question, request } = makeWorld(t);
  const response = ocspResponse(request, { signer: root, certificate: true });
  const random = generator(8);
  const mutate = (): void => {
    const bytes = Buffer.from(response.subarray(0, response.length - (random(4) === 0 ? random(response.length) : 0)));
    for (let n = random(4); n >= 0 && bytes.length > 0; n--) bytes[random(bytes.length)] = random(256);
    refusal(bytes, question);
    firstOrNothing(bytes);
  };
  for (let i = 0; i < 1000; i++) mutate();
  const before = resident();
  for (let i = 0; i < MUTATIONS; i++) mutate();
  const grown = resident() - before;
  assert.ok(grown < ALLOWED_GROWTH, `${grown} bytes more`);
});

function firstOrNothing(bytes: Buffer): void {
  try {
    firstOcspResponse(bytes, "failed");
  } catch (error) {
    assert.ok(error instanceof SslError);
  }
}

function resident(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "latin1"))?.[1]) * 1024;
}
