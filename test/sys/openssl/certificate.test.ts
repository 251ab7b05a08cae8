import assert from "node:assert/strict";
import { test } from "node:test";
import {
  certificatePem,
  expiryTime,
  fingerprint,
  isForHost,
  issuerLine,
  issuerName,
  notAfter,
  notBefore,
  ocspResponders,
  serialNumber,
  subjectLine,
  subjectName,
  verifyResultText,
} from "../../../src/sys/openssl/certificate.ts";
import { readCertificateChain } from "../../../src/sys/openssl/x509.ts";
import { certificateDirectory, createCertificate, noOpenssl, openssl } from "../../support/certificates.ts";

test("what a certificate says", { skip: noOpenssl }, (t) => {
  const directory = certificateDirectory(t);
  const root = createCertificate(directory, "root", {
    subject: "/C=DE/O=Root, \\/ Inc/CN=root",
    extensions: ["basicConstraints=critical,CA:TRUE"],
  });
  const { certificateFile: file, certificate: pem } = createCertificate(directory, "client", {
    subject: "/O=Straße/CN=client one",
    issuer: root,
    serial: "0x0A0102030405060708090A0B0C0D0E0F",
    extensions: [
      "subjectAltName=DNS:one.example,DNS:*.wild.example",
      "authorityInfoAccess=OCSP;URI:http://ocsp.example/a,caIssuers;URI:http://ca.example/,OCSP;URI:http://ocsp.example/b",
    ],
  });
  const chain = readCertificateChain(Buffer.from(pem));
  assert.ok(typeof chain !== "string");
  const { pointer } = chain;
  const shown = (...args: string[]) => openssl("x509", "-in", file, "-noout", ...args).trim();

  assert.equal(`subject=${subjectName(pointer)}`, shown("-subject", "-nameopt", "RFC2253"));
  assert.equal(subjectName(pointer), "CN=client one,O=Stra\\C3\\9Fe");
  assert.equal(issuerName(pointer), "CN=root,O=Root\\, / Inc,C=DE");
  assert.equal(subjectLine(pointer), "/O=Stra\\xC3\\x9Fe/CN=client one");
  assert.equal(issuerLine(pointer), "/C=DE/O=Root, \\/ Inc/CN=root");
  assert.equal(serialNumber(pointer), "0A0102030405060708090A0B0C0D0E0F");
  assert.equal(
    `SHA1 Fingerprint=${fingerprint(pointer)}`.toLowerCase(),
    shown("-fingerprint", "-sha1").replaceAll(":", "").toLowerCase(),
  );
  assert.equal(`notBefore=${notBefore(pointer)}`, shown("-startdate"));
  assert.equal(`notAfter=${notAfter(pointer)}`, shown("-enddate"));
  assert.equal(expiryTime(pointer), Date.parse(notAfter(pointer)) / 1000);
  assert.equal(certificatePem(pointer), pem);
  assert.deepEqual(ocspResponders(pointer), ["http://ocsp.example/a", "http://ocsp.example/b"]);
  assert.equal(isForHost(pointer, "one.example"), true);
  assert.equal(isForHost(pointer, "a.wild.example"), true);
  assert.equal(isForHost(pointer, "a.b.wild.example"), false);
  assert.equal(isForHost(pointer, "client one"), false);
  assert.equal(isForHost(pointer, ""), false);

  chain.free();
  assert.throws(() => chain.pointer, /used after it was freed/);
});

test("a certificate without extensions", { skip: noOpenssl }, (t) => {
  const { certificate: pem } = createCertificate(certificateDirectory(t), "plain");
  const chain = readCertificateChain(Buffer.from(pem));
  assert.ok(typeof chain !== "string");
  assert.deepEqual(ocspResponders(chain.pointer), []);
  assert.equal(isForHost(chain.pointer, "plain"), true);
});

test("results of verification in words", () => {
  assert.equal(verifyResultText(0n), "ok");
  assert.equal(verifyResultText(18n), "self-signed certificate");
  assert.equal(verifyResultText(18n), "self-signed certificate");
});
