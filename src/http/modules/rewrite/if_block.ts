import type { Scope } from "../../../config/schema.ts";
import { setLocation } from "../../core/choose_location.ts";
import type { Location } from "../../core/location.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";

/**
 * An `if` block in a location. One without a content handler uses that of the location around it. But as in nginx the handler
 * that an earlier block has set stays (ngx_http_update_location_config), with the settings of this one, which name no server.
 */
export class IfBlock {
  private readonly location: Location;
  private readonly passes: readonly string[];
  /** This block for requests that bring such a handler, and the locations in which those are. */
  private stranded: Location | undefined = undefined;
  private strangers: ReadonlySet<Location> = NONE;

  constructor(location: Location, scope: Scope) {
    this.location = location;
    this.passes = passesOf(scope);
  }

  /** Completes the blocks of a location, in their order, when all handlers are known. `scope`: the location's. */
  static complete(blocks: readonly IfBlock[], around: Location, scope: Scope): void {
    const passes = passesOf(scope);
    const strangers = new Set<Location>();
    for (const block of blocks) {
      const { location } = block;
      location.content ??= around.content;
      if (block.passes.length === 0 && strangers.size > 0) {
        block.stranded = { ...location, content: withoutUpstream };
        block.strangers = strangers;
        strangers.add(block.stranded);
      } else if (block.passes.some((name) => !passes.includes(name))) {
        strangers.add(location);
      }
    }
  }

  enter(request: Request): void {
    const { stranded, strangers, location } = this;
    setLocation(request, stranded !== undefined && strangers.has(request.location) ? stranded : location);
  }
}

const NONE: ReadonlySet<Location> = new Set();

/** What a block passes requests on with, which is the only content handler that it can have: proxy_pass, fastcgi_pass … */
function passesOf(scope: Scope): string[] {
  return scope.order.map(({ directive }) => directive.name).filter((name) => name.endsWith("_pass"));
}

function withoutUpstream(request: Request): number {
  logError(request, "alert", "no upstream configuration");
  return 500;
}
