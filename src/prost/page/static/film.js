// A click on a film strip plays the found moment in its place; without scripts it is a plain link to the file.
for (const film of document.querySelectorAll("a.film")) {
  film.addEventListener("click", (click) => {
    if (click.ctrlKey || click.metaKey || click.shiftKey) return;
    click.preventDefault();
    const [start, end] = [Number(film.dataset.start), Number(film.dataset.end)];
    const video = document.createElement("video");
    video.src = film.href;
    video.controls = video.autoplay = video.muted = true;
    video.setAttribute("aria-label", film.getAttribute("aria-label"));
    let once = true;
    video.addEventListener("timeupdate", () => {
      if (once && video.currentTime >= end) { once = false; video.pause(); }
    });
    video.addEventListener("loadedmetadata", () => { video.currentTime = start; });
    film.replaceWith(video);
    video.focus();
  });
}
