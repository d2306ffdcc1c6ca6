/**
 * A job as texts to show; pure.
 *
 * @import {HostView, JobEvent} from "./types.js"
 * @import {Link} from "./words.js"
 */

import * as format from "./format.js";
import { lookWord, whyLastKnown } from "./words.js";

/** A heartbeat tells a new ETA every 10 s; one older than this comes from a clock that is wrong. */
const ETA_AGE_MAX_S = 30;

/**
 * What stays until the next event.
 *
 * @param {JobEvent} view
 */
export function describeEvent(view) {
  // A training that failed or has not begun writes zeros for all its numbers: they are none.
  const none = !(view.total_epochs > 0) && view.epoch === 0 && view.loss === 0;
  return {
    percent: format.percentText(view.progress),
    percentNumber: format.percentOf(view.progress),
    epochs: none ? "" : format.epochText(view.epoch, view.total_epochs),
    loss: none ? format.UNKNOWN : format.lossText(view.loss, view.diverged),
    rate: format.rateText(view.learning_rate),
    step: format.stepText(view.step, view.total_steps),
    started: format.shortTimeText(view.run * 1000),
    labels: format.labelsOf(view),
  };
}

/**
 * What the passing of time changes, too.
 *
 * @param {JobEvent} view
 * @param {HostView|undefined} host
 * @param {Link} link
 * @param {number} nowMs
 */
export function describeNow(view, host, link, nowMs) {
  const why = whyLastKnown(host, link, nowMs);
  const running = why === null && view.state === "running" && view.eta_s !== undefined;
  return {
    ...wordsOf(view, why),
    eta: running ? etaText(view, nowMs) : format.UNKNOWN,
    updated: format.agoText(nowMs / 1000 - view.timestamp),
  };
}

/**
 * How it was at a moment of the past.
 *
 * @param {JobEvent} view
 */
export function describeThen(view) {
  return {
    ...wordsOf(view, null),
    eta: view.state === "running" && view.eta_s !== undefined ? format.durationText(view.eta_s) : format.UNKNOWN,
    updated: format.timeText(view.timestamp * 1000),
  };
}

/** @param {JobEvent} view @param {string|null} why */
function wordsOf(view, why) {
  return why === null
    ? { look: view.state, icon: view.state, word: view.state, known: "", why: "", lastKnown: false }
    : { look: "unknown", icon: "unknown", word: lookWord("unknown"), known: view.state, why, lastKnown: true };
}

/** @param {JobEvent} view @param {number} nowMs */
function etaText(view, nowMs) {
  const age = Math.min(ETA_AGE_MAX_S, Math.max(0, (nowMs - Date.parse(view.observed_at)) / 1000));
  return format.durationText((view.eta_s ?? 0) - age);
}
