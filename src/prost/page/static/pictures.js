// Search by a picture: dropped anywhere, pasted, or chosen.
import { load, showTrouble, Trouble } from "/static/loading.js";
import { dropSearch, showResults } from "/static/search.js";

export function setUpPictures(form) {
  async function search(picture) {
    const body = new FormData();
    body.append("picture", picture);
    form.reset(); // so that the same picture can be chosen again
    const signal = dropSearch();
    document.querySelector("#results").setAttribute("aria-busy", "true");
    try {
      const page = await load(form.action, { method: "POST", body, signal });
      if (signal.aborted) return;
      showResults(page);
      document.querySelector("#q").value = "";
      history.replaceState(null, "", "/");
    } catch (error) {
      if (error.name === "AbortError") return;
      document.querySelector("#results").removeAttribute("aria-busy");
      if (!(error instanceof Trouble)) throw error;
      showTrouble(error.message, () => search(picture));
    }
  }

  const pictureIn = (transfer) =>
    [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));

  form.querySelector("button").hidden = true;
  form.elements.picture.addEventListener("change", () => {
    const [picture] = form.elements.picture.files;
    if (picture) search(picture);
  });
  document.addEventListener("paste", (paste) => {
    const picture = pictureIn(paste.clipboardData);
    if (picture) { paste.preventDefault(); search(picture); }
  });
  document.addEventListener("dragover", (drag) => {
    if (![...drag.dataTransfer.types].includes("Files")) return;
    drag.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (drag) => {
    if (!drag.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (drop) => {
    document.body.classList.remove("dropping");
    if (![...drop.dataTransfer.types].includes("Files")) return;
    drop.preventDefault();
    const picture = pictureIn(drop.dataTransfer);
    if (picture) search(picture);
    else showTrouble("That is no picture. Drop a JPEG, PNG or WebP file.");
  });
}
