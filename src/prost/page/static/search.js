// The search box answers as one types; filters do, too. Old answers are dropped.
import { hasModifier } from "/static/keys.js";
import { announce, load, replace, showTrouble, Trouble } from "/static/loading.js";

const PAUSE = 220; // milliseconds without a key until a search starts
// Only the hits are put in place, so the server may leave out the list of folders.
const PART = { "Prost-Part": "hits" };

// A search waits for the timer or runs, be it by a sentence or by a picture. More of its hits belong to it.
let timer = 0;
let running = new AbortController();

/** Drop the search that waits or runs, and return the signal of the next one. */
export function dropSearch() {
  clearTimeout(timer);
  running.abort();
  running = new AbortController();
  document.querySelector("#results").removeAttribute("aria-busy");
  return running.signal;
}

export function setUpSearch(form) {
  const field = form.elements.q;

  function address() {
    const asked = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (value && !(name === "words" && value === "auto")) asked.append(name, value);
    }
    return asked.size ? `/?${asked}` : "/";
  }

  async function search() {
    const signal = dropSearch();
    if (!form.checkValidity()) return;
    const asked = address();
    document.querySelector("#results").setAttribute("aria-busy", "true");
    try {
      const page = await load(asked, { signal, headers: PART });
      if (signal.aborted) return;
      showResults(page);
      form.querySelector("summary").replaceChildren(...document.adoptNode(page.querySelector("summary")).childNodes);
      form.querySelector("#clear").href = page.querySelector("#clear").getAttribute("href");
      document.title = page.title;
      history.replaceState(null, "", asked);
    } catch (error) {
      if (error.name === "AbortError") return;
      document.querySelector("#results").removeAttribute("aria-busy");
      if (!(error instanceof Trouble)) throw error;
      showTrouble(error.message, search);
    }
  }

  field.addEventListener("input", () => { dropSearch(); timer = setTimeout(search, PAUSE); });
  form.addEventListener("change", (event) => { if (event.target !== field) search(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
  document.querySelector("#clear").addEventListener("click", (event) => {
    event.preventDefault();
    for (const each of form.elements) {
      if (each.name === "words") each.value = "auto";
      else if (each.name && each.name !== "q") each.value = "";
    }
    search();
  });
  field.addEventListener("keydown", (key) => {
    if (key.key === "ArrowDown" && !hasModifier(key)) { key.preventDefault(); films()[0]?.focus(); }
  });
  document.addEventListener("keydown", moveInGrid);
  document.addEventListener("click", (click) => {
    const more = click.target.closest("#more");
    if (more && !click.ctrlKey && !click.metaKey && !click.shiftKey) { click.preventDefault(); showMore(more); }
  });
  if (!field.value && !document.querySelector("#results .card")) field.focus();
}

/** Put the results of a fetched page in place, and say how many there are. */
export function showResults(page) {
  const results = replace(page, "#results");
  showTrouble("");
  announce(results.dataset.said);
  document.dispatchEvent(new Event("results"));
}

async function showMore(link) {
  if (link.getAttribute("aria-busy")) return;
  const { signal } = running;
  link.setAttribute("aria-busy", "true");
  try {
    const page = await load(link.href, { signal, headers: PART });
    // A newer search may have put other hits in place.
    if (signal.aborted || !link.isConnected) return;
    const added = [...page.querySelectorAll("#results .card")].map((card) => document.adoptNode(card));
    document.querySelector("#results .cards").append(...added);
    const next = page.querySelector("#more");
    if (next) link.href = next.getAttribute("href");
    else link.remove();
    added[0]?.querySelector("a")?.focus();
    announce(`${added.length} more`);
    document.dispatchEvent(new Event("results"));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Trouble)) throw error;
    if (link.isConnected) showTrouble(error.message, () => showMore(link));
  } finally {
    link.removeAttribute("aria-busy");
  }
}

const films = () => [...document.querySelectorAll("#results .film")];

/** Arrow keys move between the hits, Escape leads back to the search box. */
function moveInGrid(key) {
  const film = key.target.closest?.("#results .film");
  if (!film || hasModifier(key)) return;
  if (key.key === "Escape") { document.querySelector("#q").focus(); return; }
  const all = films();
  const columns = getComputedStyle(film.closest(".cards")).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  const place = all.indexOf(film);
  const wanted = { Home: 0, End: all.length - 1 }[key.key] ?? place + (steps[key.key] ?? 0);
  if (wanted === place) return;
  key.preventDefault();
  if (wanted < 0) document.querySelector("#q").focus();
  else all[Math.min(wanted, all.length - 1)].focus();
}
