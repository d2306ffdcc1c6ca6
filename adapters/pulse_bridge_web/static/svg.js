/** SVG elements of our own making. */

const NAMESPACE = "http://www.w3.org/2000/svg";

/** @param {string} name @param {Record<string, string|number>} attributes @param {string} [text] @returns {SVGElement} */
export function svg(name, attributes, text) {
  const element = /** @type {SVGElement} */ (document.createElementNS(NAMESPACE, name));
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

/** An icon of the sprite. @param {string} name */
export function icon(name) {
  const drawing = svg("svg", { "aria-hidden": "true" });
  drawing.append(svg("use", { href: `static/icons.svg#${name}` }));
  return drawing;
}
