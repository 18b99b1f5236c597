// The player opens at the moment. The curve below it is a slider; a file that the browser cannot play has a preview.
import { hasModifier } from "/static/keys.js";
import { announce, showTrouble } from "/static/loading.js";

const PAUSE = 250; // milliseconds without a key until a preview is asked for

const clock = (seconds) => {
  const tenths = Math.round(10 * Math.max(0, seconds));
  const [minutes, rest] = [Math.floor(tenths / 600), tenths % 600];
  const [hours, minute] = [Math.floor(minutes / 60), minutes % 60];
  const start = hours ? `${hours}:${String(minute).padStart(2, "0")}` : String(minute);
  return `${start}:${String(Math.floor(rest / 10)).padStart(2, "0")}.${rest % 10}`;
};

export function setUpPlayer(player) {
  const video = document.querySelector("#video");
  const curve = document.querySelector("#curve");
  const head = document.querySelector("#head");
  const { start, end, duration } = Object.fromEntries(
    ["start", "end", "duration"].map((name) => [name, Number(player.dataset[name])]),
  );
  // A preview holds one moment, so its clock starts later than that of the file.
  let offset = player.dataset.playable === "yes" ? 0 : start;
  let preview = player.dataset.playable !== "yes";
  let wanted = preview ? 0 : start;
  // A place outside the preview, in seconds, until the preview of it is asked for.
  let waiting = null;
  let timer = 0;

  const now = () => waiting ?? offset + video.currentTime;
  function show() {
    const place = Math.min(Math.max(now(), 0), duration);
    for (const name of ["x1", "x2"]) head.setAttribute(name, String((1000 * place) / (duration || 1)));
    curve.setAttribute("aria-valuenow", place.toFixed(1));
    curve.setAttribute("aria-valuetext", `${clock(place)} of ${clock(duration)}`);
  }

  function showPreview(from) {
    const address = new URL(player.dataset.preview, location.href);
    address.searchParams.set("start", from.toFixed(3));
    address.searchParams.set("end", Math.min(from + Math.max(end - start, 1), duration).toFixed(3));
    [preview, offset, wanted, waiting] = [true, from, 0, null];
    document.querySelector("#shortened").hidden = false;
    video.src = address.pathname + address.search;
  }

  /** Go to a time. Outside the preview only the head moves, until `showWaiting`: the server encodes each preview anew. */
  function seek(time) {
    clearTimeout(timer);
    const aim = Math.min(Math.max(time, 0), duration);
    const length = Number.isFinite(video.duration) ? video.duration : end - start;
    if (preview && (aim < offset || aim > offset + length)) waiting = aim;
    else {
      waiting = null;
      video.currentTime = wanted = aim - offset;
    }
    show();
  }

  function showWaiting() {
    clearTimeout(timer);
    if (waiting === null) return;
    showPreview(Math.min(waiting, Math.max(0, duration - 0.5)));
    show();
  }

  function begin() {
    video.currentTime = wanted;
    show();
  }

  video.addEventListener("loadedmetadata", begin);
  if (video.readyState >= HTMLMediaElement.HAVE_METADATA) begin();
  video.addEventListener("error", fallBack);
  if (video.error) fallBack();
  function fallBack() {
    if (preview) showTrouble("Neither this video nor a preview of it can be shown in this browser.");
    else {
      showPreview(start);
      announce("The browser cannot play this file. A preview of the moment is shown instead.");
    }
  }
  for (const event of ["timeupdate", "seeking", "seeked"]) video.addEventListener(event, show);

  curve.setAttribute("role", "slider");
  curve.setAttribute("tabindex", "0");
  curve.setAttribute("aria-label", "Position in the video");
  curve.setAttribute("aria-valuemin", "0");
  curve.setAttribute("aria-valuemax", duration.toFixed(1));
  curve.querySelector("svg").setAttribute("aria-hidden", "true");
  show();
  const timeAt = (event) => {
    const box = curve.getBoundingClientRect();
    return (duration * (event.clientX - box.left)) / box.width;
  };
  curve.addEventListener("pointerdown", (event) => {
    curve.setPointerCapture(event.pointerId);
    seek(timeAt(event));
  });
  curve.addEventListener("pointermove", (event) => {
    if (curve.hasPointerCapture(event.pointerId)) seek(timeAt(event));
  });
  for (const event of ["pointerup", "pointercancel"]) curve.addEventListener(event, showWaiting);
  curve.addEventListener("keydown", (key) => {
    if (hasModifier(key)) return;
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: duration / 10, PageDown: -duration / 10 };
    const aim = { Home: 0, End: duration }[key.key] ?? (key.key in steps ? now() + steps[key.key] : null);
    if (key.key === " ") { key.preventDefault(); if (video.paused) video.play(); else video.pause(); }
    if (aim === null) return;
    key.preventDefault();
    seek(aim);
    timer = setTimeout(showWaiting, PAUSE);
  });

  document.addEventListener("click", (click) => {
    const link = click.target.closest(".watch a[data-start]");
    if (!link || click.ctrlKey || click.metaKey || click.shiftKey) return;
    click.preventDefault();
    seek(Number(link.dataset.start));
    showWaiting();
    video.scrollIntoView({ block: "nearest" });
  });
}
