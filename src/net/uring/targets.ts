import type { Mapping } from "../../sys/memory.ts";
import type { Ring } from "./ring.ts";

/** The size of a struct sockaddr_storage. */
const SIZE = 128;
const COUNT = 64;

/** Addresses to connect to, which the kernel copies when the operation is submitted. */
export class Targets {
  private readonly ring: Ring;
  private readonly bytes: Uint8Array;
  private readonly low: number;
  private readonly high: number;
  private used = 0;

  constructor(ring: Ring, { address, buffer }: Mapping) {
    this.ring = ring;
    this.bytes = new Uint8Array(buffer);
    this.low = Number(address & 0xffffffffn);
    this.high = Number(address >> 32n);
  }

  static readonly size: number = SIZE * COUNT;

  connect(id: number, fd: number, address: Uint8Array): void {
    // The ones from the beginning on may be waiting to be read.
    if (this.used === COUNT) this.ring.queues.submit();
    if (!this.ring.queues.unsubmitted) this.used = 0;
    const at = this.used++ * SIZE;
    this.bytes.set(address, at);
    const low = this.low + at;
    this.ring.connect(id, fd, low >>> 0, low > 0xffffffff ? this.high + 1 : this.high, address.length);
  }
}
