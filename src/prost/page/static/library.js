// Progress of indexing, as the server reports it.
import { announce, load, showTrouble, Trouble } from "/static/loading.js";

// Stream of the job that is followed. There is one at most, since a browser has few connections to a server.
let events = null;

/** Follow the job that runs, or the one that will run next. */
export function setUpLibrary(jobs) {
  // The newest job comes first on the page, and the oldest runs first.
  const job = jobs.querySelector(".job[data-state=running]") ?? [...jobs.querySelectorAll(".job[data-state=queued]")].at(-1);
  events?.close();
  if (job) follow(job);
}

function follow(job) {
  const bar = job.querySelector("progress");
  const mine = new EventSource(`/api/jobs/${encodeURIComponent(job.dataset.job)}/events`);
  events = mine;
  mine.addEventListener("progress", (event) => {
    const { done, total, failed, name } = JSON.parse(event.data);
    if (total) { bar.max = total; bar.value = done; }
    const bad = failed ? `, ${failed} failed` : "";
    job.querySelector(".counts").textContent = `${done} of ${total || "?"}${bad}`;
    job.querySelector(".now").textContent = name ?? "";
  });
  mine.addEventListener("end", async (event) => {
    announce(`Indexing has ended: ${JSON.parse(event.data).state}`);
    await refresh();
  });
  mine.addEventListener("error", () => {
    // The browser tries again by itself, unless the server has closed the stream for good.
    if (mine.readyState === EventSource.CLOSED) showTrouble("The server does not tell the progress any more.", refresh);
  });
}

async function refresh() {
  events?.close();
  try {
    const page = await load(location.pathname + location.search);
    document.querySelector("main").replaceChildren(...document.adoptNode(page.querySelector("main")).childNodes);
    showTrouble("");
    const jobs = document.querySelector("#jobs");
    if (jobs) setUpLibrary(jobs);
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    showTrouble(error.message, refresh);
  }
}
