/** Dark, light, or as the system has it; remembered. `theme_boot.js` sets it before the first paint. */

import { setIcon } from "./dom.js";
import { recall, remember } from "./remembered.js";

const ORDER = ["system", "dark", "light"];

/** @param {HTMLButtonElement} button @returns {() => void} What goes on to the next theme. */
export function startTheme(button) {
  const found = recall("theme") ?? "system";
  let theme = ORDER.includes(found) ? found : "system";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    setIcon(/** @type {Element} */ (button.querySelector("use")), `theme-${theme}`);
    const words = `Theme: ${theme === "system" ? "as the system" : theme}`;
    button.setAttribute("aria-label", words);
    button.title = words;
  };
  const goOn = () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    remember("theme", theme === "system" ? null : theme);
    show();
  };
  button.addEventListener("click", goOn);
  show();
  return goOn;
}
