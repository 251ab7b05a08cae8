/**
 * The JSON merge patch (RFC 7396) that makes `after` out of `before`, both as JSON.parse returns them; undefined where they are
 * the same.
 * @param {Record<string, unknown>} before
 * @param {Record<string, unknown>} after
 * @returns {Record<string, unknown> | undefined}
 */
export function mergePatch(before, after) {
  /** @type {Record<string, unknown>} */
  const patch = Object.create(null);
  for (const name of Object.keys(before)) if (!Object.hasOwn(after, name)) patch[name] = null;
  for (const name of Object.keys(after)) {
    const value = after[name];
    const known = Object.hasOwn(before, name) ? before[name] : undefined;
    if (isObject(value) && isObject(known)) {
      const changes = mergePatch(known, value);
      if (changes !== undefined) patch[name] = changes;
    } else if (!isSame(known, value)) {
      patch[name] = value;
    }
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * @param {unknown} one
 * @param {unknown} other
 */
function isSame(one, other) {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}
