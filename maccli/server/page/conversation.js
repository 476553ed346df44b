// The box: passages as one types, and answers, which stay above it as a conversation.

import { call, chosen, events, post, Problem } from "./api.js";
import { $, announce, count, el, show } from "./dom.js";
import { ofSearch, ofSource, passageItem } from "./passages.js";

const SHOWN = 8;
const REMEMBERED = 20;
const TYPING = 250; // milliseconds without a key
const box = $("question");
let waiting = 0;
let searching = null;
let answering = null;
let history = []; // questions and answers, "" where there was none

const tags = () => (chosen.tag ? [chosen.tag] : []);

/** Shows the passages for what stands in the box; the answer to an older search is not waited for. */
export async function search() {
  clearTimeout(waiting);
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching;
  const question = box.value.trim();
  if (!question) return passages([]);
  $("results").ariaBusy = "true";
  try {
    const body = { question, history, k: SHOWN, tags: tags() };
    const found = (await post("search", body, { signal })).data;
    passages(found);
    announce(found.length ? `${count(found.length, "passage")}.` : "Nothing found.");
    if (!found.length) show($("trouble"), "Nothing found.");
  } catch (error) {
    if (signal.aborted) return;
    passages([]);
    show($("trouble"), inWords(error));
  }
}

function passages(found) {
  $("results").ariaBusy = "false";
  $("results").replaceChildren(...found.map(ofSearch).map(passageItem));
  show($("trouble"), "");
}

/** Asks a question, after those of the conversation; an answer that is not finished is stopped. */
export async function ask(question) {
  if (!question) return;
  clearTimeout(waiting);
  searching?.abort();
  answering?.abort();
  box.value = "";
  passages([]);
  const mine = new AbortController();
  answering = mine;
  const { signal } = mine;
  const answer = el("p", { class: "answer" }, "…");
  const turn = el("li", { "aria-busy": "true" }, el("h2", {}, question), answer);
  for (const others of $("conversation").querySelectorAll("details")) others.open = false;
  $("conversation").append(turn);
  working(true);
  turn.scrollIntoView({ block: "nearest" });
  announce("Answering.");
  try {
    const { text, end } = await answerOf(question, answer, signal);
    const given = end.mac.outcome === "answer" ? text : "";
    history = [...history, [question, given]].slice(-REMEMBERED);
    finish(turn, answer, text, end);
  } catch (error) {
    answer.className = "trouble";
    answer.textContent = signal.aborted ? "Stopped." : inWords(error);
    announce(answer.textContent);
    if (answering === mine && !box.value) box.value = question;
  } finally {
    turn.ariaBusy = "false";
    if (answering === mine) working(false);
  }
}

/** Returns the text of an answer and the stream's last event, showing the pieces as they come. */
async function answerOf(question, answer, signal) {
  const model = chosen.store ? `mac/${chosen.store}` : "mac";
  const before = history.flatMap(([asked, given]) => [
    { role: "user", content: asked },
    { role: "assistant", content: given },
  ]);
  const messages = [...before, { role: "user", content: question }];
  const body = { model, messages, stream: true, show_sources: false, tags: tags() };
  let text = "";
  let end = null;
  const options = { method: "POST", body, signal, store: "" };
  for await (const event of events(await call("chat/completions", options))) {
    text += event.choices[0]?.delta.content ?? "";
    if (text) answer.textContent = said(text);
    if (event.mac) end = event;
  }
  if (!end) throw new Problem("The answer broke off.");
  return { text, end };
}

// Where there is no answer, the text quotes the passages, which are shown below in full.
const said = (text) => text.split("\n\n> ")[0];

function finish(turn, answer, text, { mac, sources }) {
  const sure = mac.outcome === "answer";
  const summary = mac.request === "summary";
  answer.textContent = said(text);
  answer.className = sure ? "answer" : "excuse";
  const found = sources
    .filter((source) => summary || source.distances[0] >= 0.01)
    .map((source) => passageItem(ofSource(source, sure && text, !summary)));
  if (mac.outcome === "nothing relevant") found.length = 0;
  const first = found.splice(0, summary ? found.length : 1);
  const likely = sure && mac.probability != null && `${Math.round(100 * mac.probability)} % sure`;
  const follows = mac.follows && "understood after the question before it";
  turn.append(
    el("p", { class: "quiet" }, [likely, follows].filter(Boolean).join(", ")),
    el("ol", { class: "passages", "aria-label": "Where it stands" }, first),
  );
  if (found.length) {
    const others = el("ol", { class: "passages" }, found);
    turn.append(
      el("details", { open: true }, el("summary", {}, count(found.length, "other passage")), others),
    );
  }
  announce([said(text), likely].filter(Boolean).join(", "));
  turn.scrollIntoView({ block: "start" });
}

function working(now) {
  if (!now) answering = null;
  $("ask").hidden = now;
  $("stop").hidden = !now;
  $("new").hidden = now || !$("conversation").children.length;
  box.placeholder = $("conversation").children.length ? "Ask a follow-up" : "Search or ask";
}

const inWords = (error) =>
  error.code === "no_documents"
    ? "There are no documents yet. Drop files anywhere on this page."
    : error.message;

/** Forgets the conversation. */
export function startAnew() {
  answering?.abort();
  history = [];
  $("conversation").replaceChildren();
  working(false); // so what was stopped does not come back into the box
  box.focus();
}

box.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, TYPING);
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(box.value.trim());
});
$("stop").onclick = () => answering?.abort();
$("new").onclick = startAnew;

// Arrows go through the box and all passages, above and below it.
$("search").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    const stops = [...$("search").querySelectorAll("#question, .open")];
    const visible = stops.filter((stop) => stop.checkVisibility());
    const next = visible[visible.indexOf(document.activeElement) + step];
    if (!visible.includes(document.activeElement) || !next) return;
    event.preventDefault();
    next.focus();
  } else if (event.key === "Escape") {
    if (answering) answering.abort();
    else if (document.activeElement === box) {
      box.value = "";
      search();
    }
    box.focus();
  }
});
