/**
 * What stands where no job does: what to do next.
 *
 * @import {Shell} from "./shell.js"
 */

/**
 * @param {HTMLElement} place
 * @param {Shell} shell
 * @param {boolean} empty
 * @param {() => void} clear  Shows all jobs again.
 */
export function showEmpty(place, shell, empty, clear) {
  const kind = empty ? kindOf(shell) : "";
  if (place.dataset.kind === kind) return;
  place.dataset.kind = kind;
  place.replaceChildren(...(kind ? CONTENT[kind](shell, clear) : []));
}

/** @param {Shell} shell @returns {"waiting"|"deaf"|"none"|"filtered"} */
function kindOf({ fleet, link }) {
  if (!fleet.known) return "waiting";
  if (fleet.jobs.size > 0) return "filtered";
  return link.state === "deaf" ? "deaf" : "none";
}

/** @type {Record<"waiting"|"deaf"|"none"|"filtered", (shell: Shell, clear: () => void) => HTMLElement[]>} */
const CONTENT = {
  waiting: () => [element("p", "Waiting for the first word of the server …")],
  deaf: ({ fleet }) => [
    element("h2", "The bus does not answer"),
    element("p", `${fleet.reason ?? "It cannot be reached"}. The server tries again by itself.`),
  ],
  none: ({ fleet }) => [
    element("h2", "No training job yet"),
    element("p", "On the machine that trains, point pulse-bridge at the folder with its status files:"),
    code(commandFor(fleet.source)),
    element("p", "A job stands here as soon as its status file does."),
  ],
  filtered: (_, clear) => {
    const button = /** @type {HTMLButtonElement} */ (element("button", "Show all jobs"));
    button.type = "button";
    button.className = "button";
    button.addEventListener("click", clear);
    return [element("h2", "No job is like that"), element("p", "None matches the search and the chosen status."), button];
  },
};

/** @param {string} source  The bus that this page reads. */
function commandFor(source) {
  return /^(redis|mqtt)/.test(source) ? `pulse-bridge run PATH --to '${source}'` : "pulse-bridge run PATH";
}

/** @param {string} name @param {string} text */
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

/** @param {string} text */
function code(text) {
  const line = element("p", "");
  line.append(element("code", text));
  return line;
}
