// Selected moments, and their export. They stay selected over later searches until they are cleared. The form would
// work alone, with the hits that are shown; this keeps the others, counts, and tells why an export failed.
import { announce, bodyOf, problemIn, request, showTrouble, Trouble } from "/static/loading.js";

const KEPT = "selection";

/** What was selected in this tab, in the order in which it was. */
function kept() {
  try {
    const values = JSON.parse(sessionStorage.getItem(KEPT));
    return new Set(Array.isArray(values) ? values : []);
  } catch {
    return new Set();
  }
}

export function setUpSelection(form) {
  // On the page of a video the form has that moment alone.
  const single = form.elements.selection?.type === "hidden";
  const button = form.querySelector("button:not([type=reset])");
  const clear = form.querySelector("button[type=reset]");
  const chosen = single ? new Set([form.elements.selection.value]) : kept();
  const boxes = () => [...document.querySelectorAll("#results input[name=selection]")];

  function show() {
    let here = 0;
    for (const box of boxes()) {
      box.checked = chosen.has(box.value);
      box.closest(".card").classList.toggle("chosen", box.checked);
      here += box.checked;
    }
    const [all, others] = [chosen.size, chosen.size - here];
    form.hidden = !all && !boxes().length;
    form.classList.toggle("active", all > 0);
    button.disabled = !all;
    clear.hidden = !all;
    document.querySelector("#selected").textContent = all
      ? `${all} ${all === 1 ? "moment" : "moments"} selected${others ? `, ${others} from other searches` : ""}`
      : "Select moments to take them along.";
  }

  function keep() {
    try { sessionStorage.setItem(KEPT, JSON.stringify([...chosen])); } catch { /* they hold for this page only */ }
    show();
  }

  /** What the form sends, with what is selected and not among the hits. */
  function fields() {
    const given = new FormData(form);
    given.delete("selection");
    for (const value of chosen) given.append("selection", value);
    return new URLSearchParams(given);
  }

  async function send() {
    button.setAttribute("aria-busy", "true");
    try {
      const answer = await request(form.action, { method: "POST", body: fields() });
      if (!answer.ok) throw new Trouble(problemIn(await bodyOf(answer), answer.status));
      const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "moments";
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await bodyOf(answer, "blob"));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      showTrouble("");
      announce(`${name} was exported`);
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      showTrouble(error.message, send);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = document.querySelector("#q");
    if (asked) form.elements.q.value = asked.value;
    send();
  });
  if (single) return;
  form.addEventListener("reset", () => {
    chosen.clear();
    // The button that was pressed disappears.
    (boxes().length ? form.elements.form : document.querySelector("#q")).focus();
    setTimeout(keep);
  });
  document.addEventListener("change", ({ target }) => {
    if (target.name !== "selection") return;
    if (target.checked) chosen.add(target.value); else chosen.delete(target.value);
    keep();
  });
  document.addEventListener("results", show);
  // A page that the browser kept as it was may be older than the selection.
  addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return;
    chosen.clear();
    for (const value of kept()) chosen.add(value);
    show();
  });
  show();
}
