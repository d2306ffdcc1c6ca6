/** Small ways to touch the document, each of which does nothing where nothing changes. */

/** @param {string} id @returns {any} */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element ${id}`);
  return found;
}

/** A copy of a template's only element. @param {string} id @returns {HTMLElement} */
export const copyOf = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** @param {Element|SVGUseElement} use @param {string} name */
export function setIcon(use, name) {
  const address = `static/icons.svg#${name}`;
  if (use.getAttribute("href") !== address) use.setAttribute("href", address);
}

/** The named places of a piece of the page. What a place shows already is not written again. */
export class Slots {
  /** @param {HTMLElement} root  Its parts are named by `data-slot`. */
  constructor(root) {
    this.root = root;
    /** @type {Map<string, HTMLElement>} */
    this._parts = new Map();
    /** @type {Map<string, unknown>} */
    this._shown = new Map();
    for (const part of root.querySelectorAll("[data-slot]")) {
      this._parts.set(part.getAttribute("data-slot") ?? "", /** @type {HTMLElement} */ (part));
    }
  }

  /** @param {string} name @returns {HTMLElement} */
  part(name) {
    const part = this._parts.get(name);
    if (part === undefined) throw new Error(`there is no place ${name}`);
    return part;
  }

  /** Always as text: what comes from a training is never markup. @param {string} name @param {string} text */
  text(name, text) {
    if (!this._changes(name, text)) return;
    const part = this.part(name);
    const node = part.firstChild;
    if (node instanceof Text && node === part.lastChild) node.data = text; // cheaper than a new node
    else part.textContent = text;
  }

  /** @param {string} name @param {string} attribute @param {string|null} value  Null: without it. */
  attribute(name, attribute, value) {
    if (!this._changes(`${name} ${attribute}`, value)) return;
    const part = name === "" ? this.root : this.part(name);
    if (value === null) part.removeAttribute(attribute);
    else part.setAttribute(attribute, value);
  }

  /** @param {string} name @param {string} icon */
  icon(name, icon) {
    this.attribute(name, "href", `static/icons.svg#${icon}`);
  }

  /** @param {string} name @param {boolean} hidden */
  hidden(name, hidden) {
    this.attribute(name, "hidden", hidden ? "" : null);
  }

  /** @param {string} name @param {string} property @param {string} value */
  style(name, property, value) {
    if (this._changes(`${name} ${property}`, value)) this.part(name).style.setProperty(property, value);
  }

  /** @param {string} name @param {[string, string][]} labels */
  labels(name, labels) {
    if (!this._changes(name, JSON.stringify(labels))) return;
    this.part(name).replaceChildren(
      ...labels.map(([label, value]) => {
        const chip = document.createElement("span");
        chip.className = "label";
        chip.title = `${label}: ${value}`;
        chip.textContent = value;
        const spoken = document.createElement("span");
        spoken.className = "unseen";
        spoken.textContent = `${label} `;
        chip.prepend(spoken);
        return chip;
      }),
    );
  }

  /** @param {string} what @param {unknown} value */
  _changes(what, value) {
    if (this._shown.has(what) && this._shown.get(what) === value) return false;
    this._shown.set(what, value);
    return true;
  }
}

/** Put children in an order with the fewest moves that a single pass finds. @param {Element} parent @param {Element[]} wanted @param {Element|null} [after] */
export function placeInOrder(parent, wanted, after = null) {
  const keep = new Set(wanted);
  /** @type {ChildNode|null} */
  let next = after === null ? parent.firstChild : after.nextSibling;
  const skipForeign = () => {
    while (next !== null && !keep.has(/** @type {Element} */ (next))) {
      const foreign = next;
      next = next.nextSibling;
      foreign.remove();
    }
  };
  for (const child of wanted) {
    skipForeign();
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
  skipForeign();
}

/** Move elements about and leave the focus where it was: an element that is moved loses it. @param {() => void} work */
export function keepingFocus(work) {
  const focused = document.activeElement;
  work();
  if (focused instanceof HTMLElement && focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

/** Run once in the next frame however often it is asked for. @param {() => void} work */
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
