import { hasRoomFor } from "../../net/descriptors.ts";
import type { Listener } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import { duplicate } from "../../net/listening_socket.ts";
import { IGNORE, type Stream, type StreamError, type StreamHandler } from "../../net/stream.ts";
import type { ListenSpec } from "../../runtime/application.ts";
import type { Level } from "../../runtime/log/log.ts";
import { errnoText } from "../../sys/errno.ts";
import { servedOn } from "../conf/listen_table.ts";
import { COUNTER } from "../core/counters.ts";
import type { WorkerConnections } from "./connections.ts";
import type { ListeningSite } from "./types.ts";

/** How often it is logged that descriptors have run out: nginx pauses accepting for as long. */
const QUIET_MS = 500;

/** A listening socket in one worker; with `listen *:80` it may serve several addresses. */
export class BoundSocket {
  /** By a connection's local address; the last is for the socket's own. */
  sites: readonly ListeningSite[];
  /** How many connections were accepted here. */
  accepted = 0;
  /** By the descriptor of the socket, which a listener has a duplicate of. */
  private readonly listeners = new Map<number, Listener>();
  private fds: readonly number[] = [];
  private paused = false;
  private quietUntil = 0;
  private spec: ListenSpec;
  private readonly connections: WorkerConnections;
  private readonly outOfFiles: () => void;

  /** `outOfFiles` is called when descriptors have run out. */
  constructor(
    spec: ListenSpec,
    sites: readonly ListeningSite[],
    connections: WorkerConnections,
    outOfFiles: () => void,
  ) {
    this.spec = spec;
    this.sites = sites;
    this.connections = connections;
    this.outOfFiles = outOfFiles;
    connections.listening++;
  }

  /** Applies what a reload changed. */
  change(spec: ListenSpec, sites: readonly ListeningSite[]): void {
    this.spec = spec;
    this.sites = sites;
  }

  /**
   * Accepts from the sockets with these descriptors and no others. Returns an error message.
   */
  async from(fds: readonly number[]): Promise<string | undefined> {
    this.fds = fds;
    for (const [fd, listener] of this.listeners) {
      if (this.fds.includes(fd)) continue;
      this.listeners.delete(fd);
      listener.close();
    }
    return this.open();
  }

  /** Accepts again after `pause`. False if there are still no descriptors to spare. */
  async resume(): Promise<boolean> {
    const closed = this.fds.filter((fd) => !this.listeners.has(fd));
    if (!hasRoomFor(closed)) return false;
    this.paused = false;
    const failed = await this.open();
    if (failed !== undefined) this.log("alert", failed);
    return failed === undefined;
  }

  /** Stops accepting. The sockets are the master's and stay open, so new connections wait in their queues. */
  pause(): void {
    this.paused = true;
    for (const [fd, listener] of this.listeners) {
      this.listeners.delete(fd);
      listener.close();
    }
  }

  private async open(): Promise<string | undefined> {
    if (this.paused) return undefined;
    const failures = this.fds.filter((fd) => !this.listeners.has(fd)).map((fd) => this.openOne(fd));
    return (await Promise.all(failures)).find((failure) => failure !== undefined);
  }

  private async openOne(fd: number): Promise<string | undefined> {
    const { spec } = this;
    const options = { ...spec, reusePort: spec.address.family !== "unix" };
    const copy = duplicate(fd);
    if (copy < 0) return `dup() of ${spec.key} failed ${errnoText("EMFILE")}`;
    try {
      const listener = await engine().listen(
        { ...options, fd: copy },
        (stream) => this.accept(stream),
        (error) => this.failed(error),
      );
      for (const note of listener.notes) this.log("alert", note);
      // It may have been paused or changed meanwhile.
      if (this.paused || !this.fds.includes(fd) || this.listeners.has(fd)) listener.close();
      else this.listeners.set(fd, listener);
    } catch (error) {
      return `listen() to ${spec.key}, backlog ${spec.backlog} failed (${(error as StreamError).message})`;
    }
    return undefined;
  }

  close(): void {
    this.fds = [];
    for (const listener of this.listeners.values()) listener.close();
    this.listeners.clear();
    this.connections.listening--;
  }

  private accept(stream: Stream): StreamHandler {
    const { sites } = this;
    const site = sites.length === 1 ? sites[0] : servedOn(sites, stream.local);
    const { counters } = site;
    this.accepted++;
    counters[COUNTER.accepted]++;
    if (!this.connections.admit((sentence) => this.log("warn", sentence))) {
      this.log("alert", `${this.connections.limit} worker_connections are not enough`);
      stream.destroy();
      return IGNORE;
    }
    counters[COUNTER.handled]++;
    return site.accept(stream);
  }

  private failed({ code, message }: StreamError): void {
    const noFiles = code === "EMFILE" || code === "ENFILE";
    if (noFiles) {
      this.outOfFiles();
      const now = performance.now();
      if (now < this.quietUntil) return;
      this.quietUntil = now + QUIET_MS;
    }
    const level = code === "ECONNABORTED" ? "error" : noFiles ? "crit" : "alert";
    this.log(level, `accept4() failed (${message})`);
  }

  private log(level: Level, sentence: string): void {
    const { errorLog } = this.sites[this.sites.length - 1];
    errorLog.write(level, `${sentence} while accepting new connection on ${this.spec.key}`);
  }
}
