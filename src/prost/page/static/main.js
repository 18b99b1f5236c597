// Starts the modules whose part of the page is there. Without scripts, forms and links do the same by loading pages.
import { hasModifier } from "/static/keys.js";
import { setUpLibrary } from "/static/library.js";
import { setUpPictures } from "/static/pictures.js";
import { setUpPlayer } from "/static/player.js";
import { setUpSearch } from "/static/search.js";
import { setUpSelection } from "/static/selection.js";
import { setUpEvidence } from "/static/evidence.js";

const parts = [
  ["#search", setUpSearch],
  ["#picture", setUpPictures],
  ["form.export", setUpSelection],
  ["#player", setUpPlayer],
  ["#why", setUpEvidence],
  ["#jobs", setUpLibrary],
];
for (const [selector, setUp] of parts) {
  const part = document.querySelector(selector);
  if (part) setUp(part);
}

const theme = document.querySelector("#theme");
const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
  || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
const name = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.hidden = false;
theme.setAttribute("aria-label", "Change between light and dark");
name();
theme.addEventListener("click", () => {
  const chosen = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  try { localStorage.setItem("theme", chosen); } catch { /* it holds for this page only */ }
  name();
});

document.addEventListener("keydown", (key) => {
  const writing = key.target.closest("input, select, textarea, [contenteditable]");
  // Some keyboards have the slash on Shift and another key.
  if (key.key === "/" && !writing && !key.ctrlKey && !key.metaKey && !key.altKey) {
    const field = document.querySelector("#q");
    key.preventDefault();
    if (field) { field.focus(); field.select(); } else location.assign("/");
  }
  const back = document.querySelector("#back");
  if (key.key === "Escape" && back && !writing && !hasModifier(key) && !document.fullscreenElement) location.assign(back.href);
});
