// Before the first paint, and so no module: whoever chose a theme never sees the other one flash.
try {
  const theme = localStorage.getItem("pulse-bridge.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden here: the system's theme it is.
}
