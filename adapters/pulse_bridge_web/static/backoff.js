/** How long to wait before something is tried again; pure. */

/**
 * Twice as long each time up to a limit, and never the same for two viewers: a server that comes back meets them one
 * after the other.
 *
 * @param {number} tries  That have failed before this one.
 * @param {number} firstMs
 * @param {number} mostMs
 * @param {() => number} [random]
 * @returns {number} Milliseconds.
 */
export function delayMs(tries, firstMs, mostMs, random = Math.random) {
  const limit = Math.min(mostMs, firstMs * 2 ** tries);
  return limit / 2 + (random() * limit) / 2;
}
