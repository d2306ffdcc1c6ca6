/** What this browser keeps for the viewer; where it may not, nothing is kept and nothing breaks. */

const PREFIX = "pulse-bridge.";

/** @param {string} name @returns {string|null} */
export function recall(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string|null} value  Null: forget it. */
export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // Private browsing, or storage is full: it holds for this visit.
  }
}
