// The questions that were asked of the store, in any program.

import { get } from "./api.js";
import { $, button, count, el, shortened } from "./dom.js";

const PAGE = 50;
let last = null;
let onAgain = () => {};

/** Calls this with a question that is to be asked again. */
export function whenAskedAgain(call) {
  onAgain = call;
}

/** Shows the log, from the newest question. */
export async function loadLog() {
  last = null;
  await more();
}

async function more() {
  try {
    const { data, has_more } = await get("log", { query: { limit: PAGE, before: last } });
    if (last === null) $("entries").replaceChildren(...data.map(row));
    else $("entries").append(...data.map(row));
    last = data.at(-1)?.id ?? last;
    $("more-entries").hidden = !has_more;
    const number = $("entries").children.length;
    $("clear").hidden = !number;
    $("log-note").textContent = number
      ? `${has_more ? "The newest " : ""}${count(number, "question")}`
      : "No questions in the log.";
  } catch (error) {
    $("log-note").textContent = error.message;
  }
}

function row({ asked_at, question, answer, outcome, probability, sources }) {
  const sure = probability != null && answer ? `${Math.round(100 * probability)} % sure` : "";
  const [first] = sources;
  const from = first && [shortened(first.source), first.heading, first.place].filter(Boolean).join(", ");
  const when = el("time", { datetime: asked_at }, new Date(asked_at).toLocaleString());
  return el(
    "li",
    {},
    el("p", {}, question),
    el("p", { class: answer ? "" : "quiet" }, answer || outcome),
    el("p", { class: "quiet" }, when, [sure, from].filter(Boolean).map((part) => ` · ${part}`)),
    button("Ask again", () => onAgain(question), { "aria-label": `Ask again: ${question}` }),
  );
}

$("more-entries").onclick = more;
$("clear").onclick = async () => {
  if (!confirm("Remove all questions from the log? This cannot be undone.")) return;
  try {
    await get("log", { method: "DELETE" });
    await loadLog();
  } catch (error) {
    $("log-note").textContent = error.message;
  }
};
