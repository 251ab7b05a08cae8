import type { Gatherer } from "../../core/gatherer.ts";
import { logError } from "../../core/log_context.ts";
import { ModuleContext } from "../../core/module_context.ts";
import type { Request } from "../../core/request.ts";
import type { Variables } from "../../core/script.ts";
import { type Block, type Page, pageOf } from "./page.ts";

/** Where commands may stand: `elif` and `else` in the first branches of an `if`, `endif` in any. */
export const IN_IF = 1;
export const IN_ELSE = 2;
type Place = 0 | typeof IN_IF | typeof IN_ELSE;

export const DEFAULT_TIMEFMT = "%A, %d-%b-%Y %H:%M:%S %Z";

/** What the commands of one response change, and what they work on (ngx_http_ssi_ctx_t). */
export class Context {
  readonly request: Request;
  readonly page: Page;
  readonly variables: Variables;
  readonly out: Gatherer;
  /** `config` */
  errmsg = "[an error occurred while processing the directive]";
  timefmt = DEFAULT_TIMEFMT;
  /** What `echo` used last. */
  encoding: "none" | "url" | "entity" = "entity";
  /** The subrequest whose end the page waits for. */
  wait: Request | undefined = undefined;
  /** Grows with the work that commands have done. */
  work = 0;
  private place: Place = 0;
  private chosen = false;
  private shown = true;
  private open: Block | undefined = undefined;
  /** Nothing more is added to it. */
  private full = false;

  constructor(request: Request, variables: Variables, out: Gatherer) {
    this.request = request;
    this.page = pageOf(request);
    this.variables = variables;
    this.out = out;
  }

  /** What follows is part of the response. */
  get output(): boolean {
    return this.shown;
  }

  /** The block that is being read. */
  get block(): Block | undefined {
    return this.open;
  }

  /** Whether a command that needs an `if` may stand here. */
  allows(conditional: Place): boolean {
    return this.place !== 0 && this.place <= conditional;
  }

  get inIf(): boolean {
    return this.place !== 0;
  }

  /** A branch of the `if` has been chosen: those that follow are not asked. */
  get hasChosen(): boolean {
    return this.chosen;
  }

  /** The branch of an `if` or `elif` begins. */
  startBranch(holds: boolean): void {
    this.shown = holds;
    this.chosen = holds;
    this.place = IN_IF;
  }

  skipBranch(): void {
    this.shown = false;
  }

  elseBranch(): void {
    this.shown = !this.chosen;
    this.place = IN_ELSE;
  }

  endIf(): void {
    this.shown = true;
    this.chosen = false;
    this.place = 0;
  }

  startBlock(name: string): void {
    this.open = this.page.newBlock(name);
    this.shown = false;
    this.full = false;
  }

  /** Adds to the block that is being read. False, once, when the page's blocks become too large. */
  appendToBlock(text: string): boolean {
    if (this.open === undefined || this.full || this.page.append(this.open, text)) return true;
    this.full = true;
    logError(this.request, "error", `too many variables and blocks at block "${this.open.name}"`);
    return false;
  }

  endBlock(): void {
    this.open = undefined;
    this.shown = true;
  }
}

export const contexts = new ModuleContext<Context>();
