// Before the page is drawn: the choice between light and dark that was made in this browser.
try {
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch {
  // No storage in this browser: the system's choice stands.
}
