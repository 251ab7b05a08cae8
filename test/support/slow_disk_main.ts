/**
 * The file system of slow_disk.ts, which speaks FUSE's protocol (<linux/fuse.h>) on /dev/fuse. A process of its own, since
 * whoever waits for a file waits for this.
 */
import { spawn } from "node:child_process";
import { openSync, read, writeSync } from "node:fs";

const LOOKUP = 1;
const FORGET = 2;
const GETATTR = 3;
const SETATTR = 4;
const UNLINK = 10;
const OPEN = 14;
const READ = 15;
const WRITE = 16;
const RELEASE = 18;
const INIT = 26;
const CREATE = 35;
const INTERRUPT = 36;
const BATCH_FORGET = 42;

const ENOENT = 2;
const EIO = 5;
const ENOSYS = 38;

const HEADER = 40;
const ROOT = 1;
const FOPEN_DIRECT_IO = 1;
const FOPEN_KEEP_CACHE = 2;
const MOST = 128 * 1024;

interface Read {
  readonly unique: bigint;
  readonly node: number;
  readonly offset: number;
  readonly size: number;
}

const [mountPoint] = process.argv.slice(2);
const nodes: Buffer[] = [Buffer.alloc(0), Buffer.alloc(0)];
const names = new Map<string, number>();
/** Reads wait, fail, or are answered. */
let mode: "hold" | "fail" | "serve" = "hold";
let held: Read[] = [];

const device = openSync("/dev/fuse", "r+");

function reply(unique: bigint, error: number, body: Buffer = Buffer.alloc(0)): void {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(16 + body.length, 0);
  head.writeInt32LE(-error, 4);
  head.writeBigUInt64LE(unique, 8);
  try {
    writeSync(device, Buffer.concat([head, body]));
  } catch {
    // Who asked has been interrupted.
  }
}

function attributes(node: number): Buffer {
  const body = Buffer.alloc(88);
  body.writeBigUInt64LE(BigInt(node), 0);
  body.writeBigUInt64LE(BigInt(nodes[node].length), 8);
  body.writeUInt32LE(node === ROOT ? 0o040777 : 0o100666, 60);
  body.writeUInt32LE(1, 64);
  body.writeUInt32LE(4096, 80);
  return body;
}

function entry(node: number): Buffer {
  const body = Buffer.alloc(40);
  body.writeBigUInt64LE(BigInt(node), 0);
  return Buffer.concat([body, attributes(node)]);
}

function opened(flags: number): Buffer {
  const body = Buffer.alloc(16);
  body.writeUInt32LE(flags, 8);
  return body;
}

function counted(length: number): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt32LE(length, 0);
  return body;
}

function answerRead({ unique, node, offset, size }: Read): void {
  if (mode === "fail") reply(unique, EIO);
  else reply(unique, 0, nodes[node].subarray(offset, offset + size));
}

function nameIn(body: Buffer, at = 0): string {
  return body.latin1Slice(at, body.indexOf(0, at));
}

function write(node: number, offset: number, bytes: Buffer): void {
  const grown = Buffer.alloc(Math.max(nodes[node].length, offset + bytes.length));
  nodes[node].copy(grown);
  bytes.copy(grown, offset);
  nodes[node] = grown;
}

function add(name: string, bytes: Buffer): number {
  names.set(name, nodes.length);
  return nodes.push(bytes) - 1;
}

function answer(message: Buffer): void {
  const opcode = message.readUInt32LE(4);
  const unique = message.readBigUInt64LE(8);
  const node = Number(message.readBigUInt64LE(16));
  const body = message.subarray(HEADER);
  if (opcode === FORGET || opcode === BATCH_FORGET || opcode === INTERRUPT) return;
  if (opcode === INIT) {
    const init = Buffer.alloc(64);
    init.writeUInt32LE(7, 0);
    init.writeUInt32LE(31, 4);
    init.writeUInt16LE(100, 16);
    init.writeUInt16LE(75, 18);
    init.writeUInt32LE(MOST, 20);
    reply(unique, 0, init);
  } else if (opcode === LOOKUP) {
    const found = names.get(nameIn(body));
    if (found === undefined) reply(unique, ENOENT);
    else reply(unique, 0, entry(found));
  } else if (opcode === GETATTR || opcode === SETATTR) {
    reply(unique, 0, Buffer.concat([Buffer.alloc(16), attributes(node)]));
  } else if (opcode === OPEN) {
    // Else opening a file would wait for the pages of it that are being read.
    reply(unique, 0, opened(FOPEN_KEEP_CACHE));
  } else if (opcode === CREATE) {
    // Else the kernel would keep what is written to it.
    reply(unique, 0, Buffer.concat([entry(add(nameIn(body, 16), Buffer.alloc(0))), opened(FOPEN_DIRECT_IO)]));
  } else if (opcode === WRITE) {
    const length = body.readUInt32LE(16);
    write(node, Number(body.readBigUInt64LE(8)), body.subarray(40, 40 + length));
    reply(unique, 0, counted(length));
  } else if (opcode === READ) {
    const wanted = { unique, node, offset: Number(body.readBigUInt64LE(8)), size: body.readUInt32LE(16) };
    if (mode !== "hold") {
      answerRead(wanted);
      return;
    }
    held.push(wanted);
    process.send?.({ held: held.length });
  } else if (opcode === UNLINK) {
    names.delete(nameIn(body));
    reply(unique, 0);
  } else if (opcode === RELEASE) {
    reply(unique, 0);
  } else {
    reply(unique, ENOSYS);
  }
}

const buffer = Buffer.alloc(MOST + 4096);

function listen(): void {
  read(device, buffer, 0, buffer.length, null, (error, length) => {
    if (error === null) answer(Buffer.from(buffer.subarray(0, length)));
    // EPERM: it is not mounted yet. ENODEV: it is mounted no more. The others are of requests that were taken back.
    if (error?.code === "ENODEV") process.exit();
    if (error?.code === "EPERM") setTimeout(listen, 2);
    else listen();
  });
}

process.on("message", (message: { file?: string; content?: string; length?: number; mode?: typeof mode }) => {
  if (message.file !== undefined && message.content !== undefined) {
    add(message.file, Buffer.from(message.content, "latin1"));
  } else if (message.file !== undefined && message.length !== undefined) {
    const node = names.get(message.file) ?? 0;
    nodes[node] = nodes[node].subarray(0, message.length);
  }
  if (message.mode !== undefined) {
    mode = message.mode;
    if (mode !== "hold") for (const wanted of held.splice(0)) answerRead(wanted);
    held = mode === "hold" ? held : [];
    process.send?.({ held: held.length });
  }
  process.send?.({ done: true });
});
process.on("disconnect", () => process.exit());

listen();
const options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other";
const mount = spawn("mount", ["-i", "-t", "fuse", "-o", options, "slow_disk", mountPoint], {
  stdio: ["ignore", "ignore", "pipe", device],
});
let said = "";
mount.stderr?.setEncoding("utf8").on("data", (text: string) => {
  said += text;
});
mount.on("close", (code) => {
  process.send?.(code === 0 ? { mounted: true } : { failed: said.trim() || `mount: exit status ${code}` });
});
