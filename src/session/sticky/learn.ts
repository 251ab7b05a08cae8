import type { Binding } from "../../balancer/attempt.ts";
import type { Peer } from "../../balancer/peer.ts";
import { refuse } from "../../config/directives.ts";
import { fail, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseMsec, parseSize } from "../../config/values.ts";
import type { Request } from "../../http/core/request.ts";
import type { Stickiness } from "../../http/core/upstream.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { type DeclaredZone, declareZone, LEAST_ZONE } from "../../shm/registry.ts";
import type { Zone } from "../../shm/zone.ts";
import { allSessions, keyOf, LEARNED_ZONE, LearnedSessions } from "./learned_sessions.ts";
import { Lookup } from "./lookup.ts";
import { readSnapshot, type SnapshotOwner } from "./snapshot.ts";

/** ms */
const DEFAULT_TIMEOUT = 600_000;
/** Where snapshots are, relative to the prefix. */
const SNAPSHOTS = "sticky_sessions";

/** `sticky learn create=$variable … lookup=$variable … zone=name:size [parameters]`: what servers' answers tell of sessions. */
export function readLearn(at: Directive, scope: Scope): Learn {
  const create = new Lookup();
  const lookup = new Lookup();
  let zone: { readonly name: string; readonly size: number } | undefined;
  let timeout: number | undefined;
  let afterHeader = false;
  let snapshot: string | undefined;
  let sync = false;
  for (const text of at.args.slice(1)) {
    const [, word, value] = /^(zone|timeout|create|lookup|snapshot)=(.*)$/s.exec(text) ?? [undefined, text, ""];
    switch (word) {
      case "zone":
        if (zone !== undefined) refuse(at, "duplicate zone");
        zone = readZone(at, value);
        break;
      case "timeout":
        if (timeout !== undefined) refuse(at, "duplicate timeout");
        timeout = parseMsec(value);
        if (!timeout) refuse(at, "invalid timeout");
        break;
      case "create":
      case "lookup":
        if (!value.startsWith("$")) refuse(at, `missing variable in the "${word}" parameter`);
        (word === "create" ? create : lookup).add(at, scope, value.slice(1));
        break;
      case "snapshot":
        if (snapshot !== undefined) refuse(at, "duplicate snapshot");
        if (value === "") refuse(at, "invalid snapshot");
        snapshot = value;
        break;
      case "header":
        afterHeader = true;
        break;
      case "sync":
        sync = true;
        break;
      default:
        fail(at, `unknown parameter "${text}"`);
    }
  }
  if (!at.args.some((text) => text.startsWith("lookup="))) refuse(at, '"lookup" parameter is not specified');
  if (!at.args.some((text) => text.startsWith("create="))) refuse(at, '"create" parameter is not specified');
  if (zone === undefined) refuse(at, '"zone" parameter is not specified');
  const upstream = scope.directive.args[0];
  const declared = declareZone(at, scope, LEARNED_ZONE, zone.name, zone.size);
  const users = usersIn(scope);
  const user = users.get(declared);
  if (user !== undefined) fail(at, `sticky zone "${zone.name}" is already used in upstream "${user}"`);
  users.set(declared, upstream);
  return new Learn({
    create,
    lookup,
    declared,
    upstream,
    timeout: timeout ?? DEFAULT_TIMEOUT,
    afterHeader,
    snapshot: snapshot ?? SNAPSHOTS,
    shared: sync ? at : undefined,
  });
}

function readZone(at: Directive, text: string): { readonly name: string; readonly size: number } {
  const colon = text.indexOf(":");
  if (colon === -1) refuse(at, "zone size is not specified");
  if (colon === 0) refuse(at, "zone name is not specified");
  const size = parseSize(text.slice(colon + 1)) ?? refuse(at, "invalid zone size");
  if (size < LEAST_ZONE) refuse(at, "zone is too small");
  return { name: text.slice(0, colon), size };
}

const USERS = Symbol("upstreams of sticky zones");

class Users extends Map<DeclaredZone, string> {}

function usersIn({ notes }: Scope): Users {
  const noted = notes.get(USERS);
  if (noted instanceof Users) return noted;
  const made = new Users();
  notes.set(USERS, made);
  return made;
}

interface LearnSettings {
  readonly create: Lookup;
  readonly lookup: Lookup;
  readonly declared: DeclaredZone;
  readonly upstream: string;
  /** ms */
  readonly timeout: number;
  /** Sessions are learned as soon as the head of an answer has come. */
  readonly afterHeader: boolean;
  /** The directory of its snapshot as written, or "off". */
  readonly snapshot: string;
  /** Where it is said that nodes share it (`sync`). */
  readonly shared: Directive | undefined;
}

export class Learn implements Stickiness {
  readonly settings: LearnSettings;
  /** The directory of the snapshot, and the file; undefined: there is none. */
  directory: string | undefined;
  file: string | undefined;
  #sessions: LearnedSessions | undefined;

  constructor(settings: LearnSettings) {
    this.settings = settings;
  }

  get sessions(): LearnedSessions {
    if (this.#sessions === undefined) throw new Error("a sticky zone was used before it was opened");
    return this.#sessions;
  }

  get owner(): SnapshotOwner {
    return { zone: this.settings.declared.name, upstream: this.settings.upstream };
  }

  /** Called when the configuration has been read. */
  open(cycle: Cycle, log: ErrorLog): void {
    const { declared, upstream, timeout, snapshot } = this.settings;
    const { kind, name, size } = declared;
    const open = (zone: Zone) => new LearnedSessions(zone, timeout, (level, message) => log.write(level, message));
    const refusal = (before: string) =>
      `sticky zone "${name}" is used in upstream "${upstream}" while previously it was used in upstream "${before}"`;
    const migrate = (from: Zone, to: Zone) => {
      if (from.handle.key !== upstream) return;
      const [old, fresh] = [open(from), open(to)];
      for (const batch of allSessions(old)) fresh.merge(batch);
    };
    this.#sessions = open(cycle.zone({ kind, name, size, key: { text: upstream, refusal }, migrate }));
    if (snapshot === "off") return;
    this.directory = cycle.path(snapshot);
    this.file = `${this.directory}/${encodeURIComponent(name)}.snapshot`;
  }

  /** In a worker, before it serves. */
  enter(log: ErrorLog): void {
    const { sessions, owner } = this;
    const before = inForce.get(owner.zone);
    inForce.set(owner.zone, this);
    if (before !== undefined && before.owner.upstream === owner.upstream && !before.sessions.zone.same(sessions.zone)) {
      before.sessions.succeed(sessions);
    }
    if (this.file === undefined || !sessions.blank) return;
    const found = readSnapshot(this.file, owner);
    if (typeof found === "string") log.write("warn", `the sticky sessions in "${this.file}" are not used: ${found}`);
    else if (found !== undefined) log.write("notice", `${found.length} sticky sessions were read from "${this.file}"`);
    sessions.merge(typeof found === "object" ? found : []);
  }

  begin(request: Request): Binding {
    return new LearnBinding(request, this.settings, this.sessions);
  }
}

/** In a worker: what a reload finds, by the zone's name. */
const inForce = new Map<string, Learn>();

class LearnBinding implements Binding {
  readonly only = false;
  readonly #request: Request;
  readonly #settings: LearnSettings;
  readonly #sessions: LearnedSessions;
  /** What the request's session is filed under; "" where it has brought none. */
  readonly #key: string;
  /** Whose it was when the request came; "" where it was not known. */
  #was = "";
  #sid = "";

  constructor(request: Request, settings: LearnSettings, sessions: LearnedSessions) {
    this.#request = request;
    this.#settings = settings;
    this.#sessions = sessions;
    const id = settings.lookup.of(request);
    this.#key = id === "" ? "" : keyOf(id);
  }

  wanted(): string {
    if (this.#key !== "") this.#was = this.#sessions.find(this.#key);
    return this.#was;
  }

  chosen({ sid }: Peer): void {
    this.#sid = sid;
  }

  header(): void {
    if (this.#settings.afterHeader) this.#learn();
  }

  released(): void {
    if (!this.#settings.afterHeader) this.#learn();
  }

  #learn(): void {
    const id = this.#settings.create.of(this.#request);
    if (id !== "") this.#sessions.learn(keyOf(id), this.#sid);
    else if (this.#was !== "") this.#sessions.use(this.#key, this.#sid, this.#was);
  }
}
