// Selected moments, and their export. The form would work alone; this counts, and tells why an export failed.
import { announce, bodyOf, problemIn, request, showTrouble, Trouble } from "/static/loading.js";

export function setUpSelection(form) {
  const [button] = form.querySelectorAll("button");
  const clear = form.querySelector("button[type=reset]");

  const boxes = () => [...document.querySelectorAll("#results input[name=selection]")];
  function count() {
    if (form.elements.selection?.type === "hidden") return;
    const chosen = boxes().filter((box) => box.checked).length;
    for (const box of boxes()) box.closest(".card").classList.toggle("chosen", box.checked);
    form.hidden = !boxes().length;
    form.classList.toggle("active", chosen > 0);
    button.disabled = !chosen;
    clear.hidden = !chosen;
    document.querySelector("#selected").textContent = chosen
      ? `${chosen} ${chosen === 1 ? "moment" : "moments"} selected`
      : "Select moments to take them along.";
  }

  async function send() {
    button.setAttribute("aria-busy", "true");
    try {
      const answer = await request(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
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
  form.addEventListener("reset", () => setTimeout(count));
  document.addEventListener("change", (event) => { if (event.target.name === "selection") count(); });
  document.addEventListener("results", count);
  count();
}
