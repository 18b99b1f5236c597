// Progress of indexing, as the server reports it.
import { announce, load, showTrouble, Trouble } from "/static/loading.js";

export function setUpLibrary(jobs) {
  for (const job of jobs.querySelectorAll(".job")) {
    if (job.dataset.state === "running" || job.dataset.state === "queued") follow(job);
  }
}

function follow(job) {
  const bar = job.querySelector("progress");
  const events = new EventSource(`/api/jobs/${encodeURIComponent(job.dataset.job)}/events`);
  events.addEventListener("progress", (event) => {
    const { done, total, failed, name } = JSON.parse(event.data);
    if (total) { bar.max = total; bar.value = done; }
    const bad = failed ? `, ${failed} failed` : "";
    job.querySelector(".counts").textContent = `${done} of ${total || "?"}${bad}`;
    job.querySelector(".now").textContent = name ?? "";
  });
  events.addEventListener("end", async (event) => {
    events.close();
    announce(`Indexing has ended: ${JSON.parse(event.data).state}`);
    await refresh();
  });
  events.addEventListener("error", () => {
    // The browser tries again by itself, unless the server has closed the stream for good.
    if (events.readyState === EventSource.CLOSED) showTrouble("The server does not tell the progress any more.", refresh);
  });
}

async function refresh() {
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
