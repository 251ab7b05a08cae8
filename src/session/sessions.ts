import { valueIn } from "../config/schema.ts";
import { defineModule, type HttpModule } from "../http/conf/module.ts";
import { DECLINED } from "../http/core/codes.ts";
import type { Request } from "../http/core/request.ts";
import type { Handler } from "../http/core/types.ts";
import type { UpstreamHook } from "../http/core/upstream.ts";
import { keepClientFields } from "./api/client_fields.ts";
import { sessionCommands } from "./commands.ts";
import { redisGroup } from "./redis/group.ts";
import { sessionDirectives } from "./zone/directives.ts";
import { keepZone } from "./zone/keeper.ts";
import { leaveZone, prepareZone } from "./zone/recovery.ts";
import {
  beginSession,
  hideSession,
  isNewSession,
  type LocationSessions,
  sessionId,
  sessionMember,
} from "./zone/request_session.ts";
import { answerSession } from "./zone/session_answer.ts";
import { dropFields, SESSION_FIELDS } from "./zone/session_fields.ts";
import type { SessionZone, ZoneSettings } from "./zone/session_zone.ts";
import { locationSessions, openZones, zonesIn } from "./zone/zones.ts";

interface SessionSettings {
  readonly sessions: LocationSessions | undefined;
  /** All that the configuration has. */
  readonly zones: readonly SessionZone[];
}

/** Session zones: sessions that the proxy keeps for servers of any language. */
export const sessions: HttpModule<SessionSettings> = defineModule({
  name: "http_session",
  directives: sessionDirectives,
  variables: {
    session_id: { get: sessionId },
    session_new: { get: isNewSession },
  },
  setup({ cycle, scope, variables, directories, masters, workers, checkers, commands, hiddenFields }) {
    variables.prefix("session_", (name) => ({ get: (request) => sessionMember(request, name) }));
    const { session_zone: settings, session_durability: durability } = sessionDirectives;
    const wait = valueIn(scope, sessionDirectives.session_timeout);
    const groupOf = (zone: ZoneSettings) => redisGroup(zone, wait, cycle, scope);
    const zones = openZones(cycle, scope, valueIn(scope, settings), valueIn(scope, durability), groupOf);
    for (const [name, command] of sessionCommands(() => [...zones.values()])) commands.set(name, command);
    if (zones.size === 0) return;
    for (const name of SESSION_FIELDS) hiddenFields.add(name);
    for (const zone of zones.values()) {
      directories.add(zone.directory);
      if (zone.durability === "async") {
        masters.push({ prepare: () => prepareZone(zone.directory), leave: () => leaveZone(zone.directory) });
      }
      workers.push({
        enter(slot) {
          zone.counters.enter(slot);
          zone.open();
        },
        forget() {},
      });
      checkers.push({ name: `session zone ${zone.settings.name}`, check: (previous) => keepZone(zone, previous) });
    }
  },
  build: ({ session }, { http }): SessionSettings => ({
    sessions: locationSessions(http.cycle, session),
    zones: [...zonesIn(http.cycle).values()],
  }),
  postRead: ({ zones }) => (zones.length > 0 ? (request) => dropClientsFields(request, zones) : undefined),
  preaccess({ sessions, zones }): Handler | undefined {
    if (sessions !== undefined) return (request) => beginSession(request, sessions);
    return zones.length > 0 ? hideSession : undefined;
  },
  upstreamHook: ({ sessions }): UpstreamHook | undefined =>
    sessions && { head: (request) => answerSession(request, sessions) },
});

function dropClientsFields(request: Request, zones: readonly SessionZone[]): number {
  for (const { backendsWrite } of zones) if (backendsWrite) keepClientFields(request);
  dropFields(request);
  return DECLINED;
}
