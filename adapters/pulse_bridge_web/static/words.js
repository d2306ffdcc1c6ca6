/**
 * States and troubles in words; pure.
 *
 * @import {HostView, JobEvent, State} from "./types.js"
 */

import { agoText, countText, durationText, epochNumber } from "./format.js";

/** How a job is shown: its state, or `unknown` where that is only the last known. */
export const LOOKS = /** @type {const} */ (["running", "stale", "error", "unknown", "done", "idle", "gone"]);

/** @typedef {State|"unknown"} Look */

/** @param {Look} look */
export const lookWord = (look) => (look === "unknown" ? "last known" : look);

/** After so long without a word a host that was not heard since the server connected is not taken for alive. */
const UNHEARD_MS = 30_000;

/** A timer that is late by less is no loss of the line: it heals before one has read of it. */
export const LINK_GRACE_MS = 2_000;

/**
 * @typedef {object} Link  How this page is connected.
 * @property {"connecting"|"live"|"lost"|"deaf"} state  `deaf`: the server answers, but its bus does not.
 * @property {string|null} reason
 * @property {number} sinceMs  Unix milliseconds on the server's clock.
 */

/**
 * Why what is known of a host's jobs is only the last known; null where it is what is so.
 *
 * @param {HostView|undefined} host
 * @param {Link} link
 * @param {number} nowMs
 */
export function whyLastKnown(host, link, nowMs) {
  if (link.state === "lost" && nowMs - link.sinceMs >= LINK_GRACE_MS) return "this page has lost its server";
  if (link.state === "deaf" && nowMs - link.sinceMs >= LINK_GRACE_MS) return "the server has lost its bus";
  if (host?.hearing === "silent") return "its sidecar is silent";
  if (host?.hearing === "stopped") return "its sidecar was stopped";
  if (host?.hearing === "unheard" && nowMs - Date.parse(host.last_seen) > UNHEARD_MS) return "its sidecar has not been heard yet";
  return null;
}

/** @param {HostView|undefined} host @param {number} nowMs */
export function hearingWord(host, nowMs) {
  if (host === undefined || host.hearing === "heard") return "";
  const since = agoText((nowMs - Date.parse(host.last_seen)) / 1000);
  if (host.hearing === "silent") return `silent · last word ${since}`;
  if (host.hearing === "stopped") return `stopped ${since}`;
  return "not heard yet";
}

/** What else a sidecar tells of itself. @param {HostView|undefined} host */
export function hostFacts(host) {
  if (host === undefined) return "";
  const facts = [];
  if (host.version) facts.push(`sidecar ${host.version}`);
  if (host.malformed) facts.push(`${countText(host.malformed)} unreadable ${host.malformed === 1 ? "file" : "files"}`);
  if (host.dropped) facts.push(`${countText(host.dropped)} events dropped`);
  for (const [destination, events] of Object.entries(host.lag ?? {})) {
    if (events > 0) facts.push(`${destination} is behind by ${countText(events)}`);
  }
  return facts.join(" · ");
}

/**
 * @typedef {object} Finding
 * @property {Look} state  Gives the shape and colour.
 * @property {string} text
 */

/**
 * Everything that is wrong with a job, the worst last known first; empty where nothing is.
 *
 * @param {JobEvent} view
 * @param {HostView|undefined} host
 * @param {Link} link
 * @param {number} nowMs
 * @returns {Finding[]}
 */
export function findings(view, host, link, nowMs) {
  /** @type {Finding[]} */
  const found = [];
  const why = whyLastKnown(host, link, nowMs);
  if (why !== null) found.push({ state: "unknown", text: `${sentence(why)}. What stands here is the last known, and may be over. ${remedy(host, link)}` });
  const quiet = durationText(nowMs / 1000 - view.timestamp);
  if (view.state === "stale") {
    found.push({ state: "stale", text: `The training has not written for ${quiet}, although it says that it runs. It hangs, was killed, or writes more rarely than stale_after_s.` });
  }
  if (view.state === "error") found.push({ state: "error", text: view.message ? `The training failed: ${view.message}` : "The training failed and left no message." });
  if (view.state === "gone") found.push({ state: "gone", text: "The status file is there no more. It may come back." });
  if (view.diverged) found.push({ state: "error", text: `The loss is no finite number at epoch ${epochNumber(view.epoch)}: the training has diverged.` });
  if (host?.malformed) found.push({ state: "unknown", text: `On ${view.host} ${countText(host.malformed)} status ${host.malformed === 1 ? "file" : "files"} cannot be read as PULSE; pulse-bridge doctor names them.` });
  if (host?.dropped) found.push({ state: "unknown", text: `On ${view.host} ${countText(host.dropped)} events were given up: the past shown here may have holes.` });
  return found;
}

/** @param {HostView|undefined} host @param {Link} link */
function remedy(host, link) {
  if (link.state === "lost" || link.state === "deaf") return "It heals by itself once the connection is back.";
  if (host?.hearing === "stopped") return `Start pulse-bridge run on ${host.host} again to see what is so.`;
  return `Is pulse-bridge run alive on ${host?.host ?? "that host"}, and can it reach its bus?`;
}

/** @param {string} text */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
