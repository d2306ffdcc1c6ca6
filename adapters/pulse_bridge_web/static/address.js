/** Addresses of jobs, relative to the document's base; pure. */

/** Browsers resolve `.` and `..` in a path, encoded ones too, so one `~` more stands behind such a name. */
const DOTS = /^\.\.?~*$/;

/** @param {string} name */
const encoded = (name) => encodeURIComponent(DOTS.test(name) ? `${name}~` : name);

/** One segment for each level of the name, save where the address would then mean something else. @param {string} job */
function jobPath(job) {
  const levels = job.split("/");
  const unsafe = levels.some((level) => ["", ".", ".."].includes(level)) || levels.at(-1) === "history";
  return unsafe || levels.length === 1 ? encoded(job) : levels.map(encodeURIComponent).join("/");
}

/** @param {string} host @param {string} job */
export const pageAddress = (host, job) => `jobs/${encoded(host)}/${jobPath(job)}`;

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
  return { host: named(decoded(host)), job: named(levels.map(decoded).join("/")) };
}

/** @param {string} text */
const named = (text) => (text.endsWith("~") && DOTS.test(text) ? text.slice(0, -1) : text);

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody typed a lone percent sign
  }
}
