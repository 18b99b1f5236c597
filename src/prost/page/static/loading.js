// Pages are fetched from the addresses that links and forms lead to, and their parts put into this page.

const GONE = "The server does not answer. Check that prost serve still runs, then try again.";

/** A request that failed, with a sentence for the user. */
export class Trouble extends Error {}

/** Fetch; a failure of the network is told in words, and without a token the login is shown. */
export async function request(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(GONE);
  }
  if (answer.status === 401 || new URL(answer.url).pathname === "/login") {
    location.assign("/login");
    throw new Trouble("This server asks for its token.");
  }
  return answer;
}

/** The body of an answer, as `text` or `blob`; a connection that breaks off on the way is told in words. */
export async function bodyOf(answer, kind = "text") {
  try {
    return await answer[kind]();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(GONE);
  }
}

/** Fetch a page. Its problems are part of it. */
export async function load(address, options = {}) {
  const answer = await request(address, { ...options, headers: { Accept: "text/html", ...options.headers } });
  const text = await bodyOf(answer);
  const page = new DOMParser().parseFromString(text, "text/html");
  if (!page.querySelector("main")) throw new Trouble(problemIn(text, answer.status));
  return page;
}

/** Put a part of a fetched page in the place of the same part here. */
export function replace(page, selector) {
  const [here, there] = [document.querySelector(selector), page.querySelector(selector)];
  if (!there) throw new Trouble(page.querySelector("main").textContent.trim().replace(/\s+/g, " "));
  here.replaceWith(document.adoptNode(there));
  return there;
}

/** The sentence in an answer of the API that is no success. */
export function problemIn(text, status) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return `The server answered with status ${status}.`;
  }
}

/** Tell those who cannot see the page what has changed on it. */
export function announce(text) {
  document.querySelector("#announcement").textContent = text;
}

/** Show that something failed, or with an empty text that it does no more. */
export function showTrouble(text, again) {
  const place = document.querySelector("#trouble");
  place.replaceChildren(text);
  if (again) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", again);
    place.append(" ", button);
  }
  place.hidden = !text;
}
