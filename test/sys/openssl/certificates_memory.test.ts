/** Certificates and keys are freed: what is loaded and given back 10,000 times leaves the process as it was. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isForHost, ocspResponders, subjectLine, subjectName } from "../../../src/sys/openssl/certificate.ts";
import { loadStoreKey, readPrivateKey } from "../../../src/sys/openssl/keys.ts";
import { readCertificateChain, readRevocationLists, readTrustedCertificates } from "../../../src/sys/openssl/x509.ts";
import {
  certificateDirectory,
  createCertificate,
  createRevocationList,
  encryptKey,
  noOpenssl,
} from "../../support/certificates.ts";

/** Four files of certificates are read in each. */
const ROUNDS = 2500;
/** A leak of one certificate a round would be 25 MB. */
const ALLOWED_GROWTH = 10e6;

test("10,000 certificates, keys and lists, good and broken, leave no memory behind", { skip: noOpenssl }, (t) => {
  const directory = certificateDirectory(t);
  const root = createCertificate(directory, "root", {
    extensions: ["authorityInfoAccess=OCSP;URI:http://ocsp.example/"],
  });
  const pem = Buffer.from(root.certificate);
  const chain = Buffer.concat([pem, pem]);
  const cut = chain.subarray(0, chain.length - 100);
  const list = Buffer.from(createRevocationList(directory, root));
  const key = Buffer.from(root.key);
  const encrypted = Buffer.from(encryptKey(root.keyFile, "secret"));
  const brokenKey = Buffer.from(root.key.replace("MI", "NI"));
  const secret = Buffer.from("secret");

  function round(): void {
    const read = readCertificateChain(chain);
    assert.ok(typeof read !== "string");
    const shared = read.share();
    subjectName(read.pointer);
    subjectLine(read.pointer);
    isForHost(read.pointer, "root");
    ocspResponders(read.pointer);
    read.free();
    subjectName(shared.pointer);
    shared.free();
    assert.equal(typeof readCertificateChain(cut), "string");
    assert.equal(typeof readTrustedCertificates(cut), "string");
    for (const good of [readTrustedCertificates(chain), readRevocationLists(list)]) {
      assert.ok(typeof good !== "string", String(good));
      good.free();
    }
    const good = readPrivateKey(key, []);
    assert.ok(typeof good !== "string", String(good));
    good.key.free();
    assert.equal(typeof readRevocationLists(pem), "string");
    assert.equal(typeof readPrivateKey(brokenKey, []), "string");
  }
  // What is slow by intent (key derivation), or opens files.
  function slowRound(): void {
    for (const good of [readPrivateKey(encrypted, [key, secret]), loadStoreKey(`file:${root.keyFile}`, [])]) {
      assert.ok(typeof good !== "string", String(good));
      good.key.free();
    }
    assert.equal(typeof readPrivateKey(encrypted, [key]), "string");
    assert.equal(typeof loadStoreKey(`file:${root.certificateFile}`, []), "string");
  }

  for (let i = 0; i < ROUNDS / 10; i++) round();
  for (let i = 0; i < ROUNDS / 50; i++) slowRound();
  const before = residentBytes();
  for (let i = 0; i < ROUNDS; i++) round();
  for (let i = 0; i < ROUNDS / 10; i++) slowRound();
  const grown = residentBytes() - before;
  assert.ok(grown < ALLOWED_GROWTH, `${grown} bytes more`);
});

function residentBytes(): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1]) * 1024;
}
