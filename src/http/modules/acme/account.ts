import type { KeyObject } from "node:crypto";
import type { ErrorLog } from "../../../runtime/log/log.ts";
import { crypto } from "../../../sys/builtin.ts";
import { generateKey, keyPem } from "./keys.ts";
import type { KeyType } from "./order.ts";
import { ACCOUNT_KEY, type StateDirectory } from "./state_directory.ts";

/** A key that was made for an account, or found in `state_path`. It outlives a reload. */
export interface MadeKey {
  readonly type: KeyType;
  readonly key: KeyObject;
}

/**
 * The key of that type, from where it is: the cycle before, or `state_path`, or made now. What there is in `state_path` is
 * taken whatever its type is, as nginx does: the account belongs to it.
 */
export async function accountKey(
  type: KeyType,
  before: MadeKey | undefined,
  state: StateDirectory | undefined,
  log: (level: Parameters<ErrorLog["write"]>[0], message: string) => void,
): Promise<MadeKey> {
  if (before !== undefined && before.type.name === type.name && before.type.bits === type.bits) return before;
  try {
    const kept = state?.read(ACCOUNT_KEY);
    if (kept !== undefined) return { type, key: crypto().createPrivateKey(kept) };
  } catch (error) {
    log("error", `the account's key in the state directory cannot be used, another one is made: ${String(error)}`);
  }
  const key = await generateKey(type);
  try {
    state?.write({ [ACCOUNT_KEY]: keyPem(key) });
  } catch (error) {
    log("error", `writing the account's key to the state directory failed: ${String(error)}`);
  }
  return { type, key };
}
