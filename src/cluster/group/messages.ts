import { REPORT_STATES } from "../report/report.ts";
import { type Changes, MOST_KEY, type Opinion, type OpinionState } from "./opinions.ts";
import { type RefusedCounts, refusedCounts } from "./refusals.ts";

/** What is in the bodies of frames (wire/cluster.ts). Unknown members are ignored, so that later versions can have more. */

/** How a node does. `leaving`: it ends as soon as its requests have. */
export type NodeState = "starting" | "serving" | "draining" | "leaving";

/** What a node says of itself. */
export interface NodeFacts {
  readonly state: NodeState;
  /** Holdfast's version. */
  readonly version: string;
  /** Digest of its configuration. */
  readonly configuration: string;
  /** Connections of clients, and requests since the start. */
  readonly connections: number;
  readonly requests: number;
  /** Messages that changed nothing there; undefined: it does not say. */
  readonly refused?: RefusedCounts;
}

export interface RequestBody {
  readonly cluster: string;
  readonly from: string;
  readonly to: string;
  /** What is known of the one asked: the run, and the number of its opinions. */
  readonly run: string;
  readonly known: number;
}

export interface AnswerBody {
  readonly cluster: string;
  readonly from: string;
  readonly facts: NodeFacts;
  readonly changes: Changes;
  /** It may be asked over TLS. */
  readonly tls?: boolean;
}

export interface RefusalBody {
  readonly error: string;
  readonly tls?: boolean;
}

const STATES: readonly string[] = ["starting", "serving", "draining", "leaving"] satisfies NodeState[];
const OPINIONS: readonly string[] = ["up", "down", "unknown"] satisfies OpinionState[];
/** Characters of what another node may say in its own words. */
const MOST_TEXT = 256;

export function encodeBody(body: RequestBody | AnswerBody | RefusalBody): Buffer {
  return Buffer.from(JSON.stringify(body));
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(bytes: Buffer): Fields | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value.length <= MOST_TEXT ? value : undefined;
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** undefined: it is none. */
export function decodeRequest(bytes: Buffer): RequestBody | undefined {
  const fields = fieldsOf(bytes);
  const [cluster, from, to] = [text(fields?.cluster), text(fields?.from), text(fields?.to)];
  const [run, known] = [text(fields?.run), count(fields?.known)];
  if (cluster === undefined || from === undefined || to === undefined || run === undefined || known === undefined) {
    return undefined;
  }
  return { cluster, from, to, run, known };
}

export function decodeRefusal(bytes: Buffer): RefusalBody | undefined {
  const fields = fieldsOf(bytes);
  const error = text(fields?.error);
  return error === undefined ? undefined : { error, tls: fields?.tls === true };
}

export function decodeAnswer(bytes: Buffer): AnswerBody | undefined {
  const fields = fieldsOf(bytes);
  const [cluster, from] = [text(fields?.cluster), text(fields?.from)];
  const facts = factsOf(fields?.facts);
  const changes = changesOf(fields?.changes);
  if (cluster === undefined || from === undefined || facts === undefined || changes === undefined) return undefined;
  return { cluster, from, facts, changes, tls: fields?.tls === true };
}

function factsOf(value: unknown): NodeFacts | undefined {
  if (!isFields(value)) return undefined;
  const [version, configuration] = [text(value.version), text(value.configuration)];
  const [connections, requests] = [count(value.connections), count(value.requests)];
  if (version === undefined || configuration === undefined || connections === undefined || requests === undefined) {
    return undefined;
  }
  const known = isFields(value.refused) ? value.refused : undefined;
  const refused = known === undefined ? {} : { refused: refusedCounts((kind) => count(known[kind])) };
  return isState(value.state)
    ? { state: value.state, version, configuration, connections, requests, ...refused }
    : undefined;
}

function isState(value: unknown): value is NodeState {
  return typeof value === "string" && STATES.includes(value);
}

function isOpinion(value: unknown): value is OpinionState {
  return typeof value === "string" && OPINIONS.includes(value);
}

function changesOf(value: unknown): Changes | undefined {
  if (!isFields(value) || !isFields(value.opinions)) return undefined;
  const [from, to] = [count(value.from), count(value.to)];
  if (from === undefined || to === undefined) return undefined;
  const opinions: Record<string, Opinion | null> = Object.create(null);
  for (const [key, one] of Object.entries(value.opinions)) {
    const opinion = one === null ? null : opinionOf(one);
    if (opinion === undefined || key.length > MOST_KEY) return undefined;
    opinions[key] = opinion;
  }
  return { from, to, opinions };
}

function opinionOf(value: unknown): Opinion | undefined {
  if (!isFields(value)) return undefined;
  const [since, reason] = [count(value.since), text(value.reason)];
  if (since === undefined || reason === undefined || !isOpinion(value.state)) return undefined;
  const report = isFields(value.report) ? reportOf(value.report) : undefined;
  return { state: value.state, since, reason, ...(report === undefined ? {} : { report }) };
}

/** One of a state that this version does not know is none. */
function reportOf({ state: named, until: end, by: node }: Fields): Opinion["report"] {
  const [until, by] = [count(end), text(node)];
  const state = REPORT_STATES.find((one) => one === named);
  return state === undefined || until === undefined || by === undefined ? undefined : { state, until, by };
}
