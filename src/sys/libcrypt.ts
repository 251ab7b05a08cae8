import { bind, cString, stringAt } from "./ffi.ts";

/** crypt_r() of libcrypt: DES, bcrypt, yescrypt and whatever else the system supports. */

/** Larger than struct crypt_data of any libcrypt. */
const DATA_BYTES = 256 * 1024;
const NAMES = ["libcrypt.so.1", "libcrypt.so.2"];

type Crypt = (password: string, setting: string) => string | undefined;

let loaded: Crypt | null | undefined;

/** Hashes the password by the setting (a stored hash); undefined if that is not supported. Byte strings. */
export function libcrypt(password: string, setting: string): string | undefined {
  if (loaded === undefined) loaded = load();
  return loaded?.(password, setting);
}

function load(): Crypt | null {
  for (const name of NAMES) {
    try {
      const functions = bind(name, {
        // The result is in the last argument.
        crypt_r: { return: "pointer", arguments: ["buffer", "buffer", "buffer"] },
      });
      const data = Buffer.alloc(DATA_BYTES);
      return (password, setting) => {
        data.fill(0);
        const found = functions.crypt_r(cString(password), cString(setting), data);
        return found === 0n ? undefined : (stringAt(found) ?? undefined);
      };
    } catch {
      // No library of that name.
    }
  }
  return null;
}
