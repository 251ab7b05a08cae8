import type { Group } from "./balancer/group.ts";
import { valueIn } from "./config/schema.ts";
import { checkStatus } from "./health/check_status.ts";
import { check, healthCheck } from "./health/directives.ts";
import { openHealth } from "./health/health.ts";
import type { Checks } from "./health/scheduler.ts";
import { cacheTool } from "./http/cache/tool.ts";
import type { HttpModule } from "./http/conf/module.ts";
import { httpProgram, httpScope } from "./http/conf/program.ts";
import type { Application, CheckerService, Program } from "./runtime/application.ts";
import type { Cycle } from "./runtime/cycle.ts";
import { coreDirectives as processDirectives } from "./runtime/directives.ts";
import { openErrorLog } from "./runtime/log/error_log.ts";
import { sessionApi } from "./session/api/session_api.ts";
import { memcachedSessions } from "./session/memcached/listener.ts";
import { sessions } from "./session/sessions.ts";
import { sessionSticky } from "./session/sticky/session_sticky.ts";
import { sticky } from "./session/sticky/sticky.ts";

/** The active checks; a reload hands them on to the next cycle. */
class Checking implements CheckerService {
  readonly checks: Checks;

  constructor(checks: Checks) {
    this.checks = checks;
  }

  stop(): void {
    this.checks.stop();
  }
}

function openChecks(cycle: Cycle, upstreams: readonly Group[]): Application["check"] {
  const health = openHealth(cycle, upstreams);
  return (previous) => {
    const scope = httpScope(cycle.root) ?? cycle.root;
    const log = openErrorLog(valueIn(scope, processDirectives.specs.error_log), cycle);
    return new Checking(health.start({ log }, previous instanceof Checking ? previous.checks : undefined));
  };
}

/** All of Holdfast. */
export function program(): Program {
  const built = httpProgram({
    modules: [checkStatus, sessions, sessionApi, memcachedSessions, sessionSticky, sticky] as readonly HttpModule[],
    tables: [check, healthCheck],
    open: openChecks,
  });
  return { ...built, tools: [cacheTool] };
}
