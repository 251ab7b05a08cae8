import type { Group } from "./balancer/group.ts";
import { openCluster, withoutCluster } from "./cluster/cluster.ts";
import { clusterDirectives } from "./cluster/directives.ts";
import { clusterReport } from "./cluster/report/cluster_report.ts";
import { clusterHosts } from "./cluster/settings.ts";
import { clusterStatus } from "./cluster/status/cluster_status.ts";
import { clusterTool } from "./cluster/status/tool.ts";
import { valueIn } from "./config/schema.ts";
import { checkStatus } from "./health/check_status.ts";
import { check, healthCheck } from "./health/directives.ts";
import { openHealth } from "./health/health.ts";
import type { Checks } from "./health/scheduler.ts";
import { cacheTool } from "./http/cache/tool.ts";
import type { CheckerShare, HttpModule } from "./http/conf/module.ts";
import { httpProgram, httpScope, type Shares } from "./http/conf/program.ts";
import { keyvalTool } from "./http/keyval/tool.ts";
import type { CheckerService, Program } from "./runtime/application.ts";
import type { Cycle } from "./runtime/cycle.ts";
import { coreDirectives as processDirectives } from "./runtime/directives.ts";
import { openErrorLog } from "./runtime/log/error_log.ts";
import { sessionApi } from "./session/api/session_api.ts";
import { memcachedSessions } from "./session/memcached/listener.ts";
import { sessions } from "./session/sessions.ts";
import { sessionStatus } from "./session/status/session_status.ts";
import { sessionSticky } from "./session/sticky/session_sticky.ts";
import { sticky } from "./session/sticky/sticky.ts";
import { sessionTool } from "./session/tool.ts";

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

function openChecks(cycle: Cycle, upstreams: readonly Group[]): readonly Shares[] {
  const health = openHealth(cycle, upstreams);
  const checks: CheckerShare = {
    name: "health",
    check(previous) {
      const scope = httpScope(cycle.root) ?? cycle.root;
      const log = openErrorLog(valueIn(scope, processDirectives.specs.error_log), cycle);
      return new Checking(health.start({ log }, previous instanceof Checking ? previous.checks : undefined));
    },
  };
  const cluster = openCluster(cycle, health, upstreams);
  return [{ checkers: [checks] }, cluster?.shares ?? withoutCluster(cycle, upstreams)];
}

/** All of Holdfast. */
export function program(): Program {
  const built = httpProgram({
    modules: [
      checkStatus,
      clusterReport,
      clusterStatus,
      sessions,
      sessionApi,
      memcachedSessions,
      sessionStatus,
      sessionSticky,
      sticky,
    ] as readonly HttpModule[],
    tables: [check, healthCheck, clusterDirectives],
    open: openChecks,
  });
  const hosts: Program["hosts"] = (root) => [...built.hosts(root), ...clusterHosts(root)];
  return { ...built, hosts, tools: [cacheTool, keyvalTool, sessionTool, clusterTool] };
}
