// Why a moment was found: fetched when it is asked for; the chips choose the phrase whose regions are shown.
import { announce, load, replace, showTrouble, Trouble } from "/static/loading.js";

export function setUpEvidence(place) {
  const explain = document.querySelector("#explain");
  explain?.addEventListener("click", async function ask(click) {
    if (click.ctrlKey || click.metaKey || click.shiftKey) return;
    click.preventDefault();
    if (explain.getAttribute("aria-busy")) return;
    explain.setAttribute("aria-busy", "true");
    try {
      const why = replace(await load(explain.href), "#why");
      explain.hidden = true;
      listen(why);
      showTrouble("");
      const heading = why.querySelector("h2");
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
      why.scrollIntoView({ behavior: "smooth", block: "start" });
      announce(heading.textContent);
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      showTrouble(error.message, () => explain.click());
    } finally {
      explain.removeAttribute("aria-busy");
    }
  });
  listen(place);
}

function listen(why) {
  why.addEventListener("click", (click) => {
    const chip = click.target.closest(".chip");
    if (!chip || click.ctrlKey || click.metaKey || click.shiftKey) return;
    click.preventDefault();
    for (const each of why.querySelectorAll(".chip")) each.removeAttribute("aria-current");
    chip.setAttribute("aria-current", "true");
    for (const heat of why.querySelectorAll(".heat")) heat.src = heat.dataset.heat.split(" ")[Number(chip.dataset.slot)];
    announce(`Regions of ${chip.textContent.trim()}`);
  });
}
