/** Addresses of jobs, relative to the document's base; pure. */

/** One segment for each level of the name, save where the address would then mean something else. @param {string} job */
function jobPath(job) {
  const levels = job.split("/");
  const unsafe = levels.some((level) => ["", ".", ".."].includes(level)) || levels.at(-1) === "history";
  return unsafe ? encodeURIComponent(job) : levels.map(encodeURIComponent).join("/");
}

/** @param {string} host @param {string} job */
export const pageAddress = (host, job) => `jobs/${encodeURIComponent(host)}/${jobPath(job)}`;

/** @param {string} host @param {string} job */
export const apiAddress = (host, job) => `api/${pageAddress(host, job)}`;

/**
 * Whose page an address is.
 *
 * @param {string} path  The document's path.
 * @param {string} base  The path of its base, with a slash at its end.
 * @returns {{host: string, job: string}}
 */
export function jobOfPath(path, base) {
  const [, host = "", ...levels] = path.slice(base.length).split("/");
  return { host: decoded(host), job: levels.map(decoded).join("/") };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody typed a lone percent sign
  }
}
