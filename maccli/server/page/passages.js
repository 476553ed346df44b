// Passages with their places, and the panel that shows a whole document. Offsets count characters
// as the server does (code points), not the halves of them that JavaScript strings are made of.

import { get } from "./api.js";
import { $, announce, button, count, el, shortened } from "./dom.js";

const points = (text) => Array.from(text).length;

/** A passage of a search, as `passageItem` takes it. */
export function ofSearch(found) {
  return { ...found, span: [found.match_start, found.match_end] };
}

/** A source of a chat completion, likewise; the answer is marked in it, else the sentence. */
export function ofSource(found, answer, whole) {
  const [about] = found.metadata;
  const { sentence } = about;
  const passage = whole ? found.document[0] : sentence;
  const at = Math.max(0, passage.indexOf(sentence));
  const said = answer && sentence.match(inWords(answer));
  const marked = said ? said[0] : sentence;
  const start = points(passage.slice(0, at + (said ? said.index : 0)));
  return {
    ...about,
    source: found.source.id,
    text: passage,
    start: about.start - points(passage.slice(0, at)),
    span: whole && [start, start + points(marked)],
  };
}

/** Returns what finds the words of an answer, whole, whatever stands between them. */
function inWords(answer) {
  const words = answer.trim().split(/\s+/);
  const escaped = words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  const letter = "[\\p{L}\\p{N}_]";
  return new RegExp(`(?<!${letter})${escaped.join("\\s+")}(?!${letter})`, "iu");
}

/** Returns the element for a passage. */
export function passageItem(passage) {
  const { source, title, heading, place, text, span, score, stale } = passage;
  const also = passage.also ?? [];
  const from = passage.start + (span ? span[0] : 0);
  const to = passage.start + (span ? span[1] : points(text));
  const name = shortened(source);
  const where = [heading, place].filter(Boolean).join(", ");
  const places = also.map((copy) =>
    [shortened(copy.source), copy.heading, copy.place].filter(Boolean).join(", "),
  );
  return el(
    "li",
    { class: "passage" },
    el(
      "p",
      { class: "where" },
      button(name, () => openDocument(source, from, to), { class: "open", title: source }),
      title && title !== name && !heading.includes(title) && el("span", {}, title),
      where && el("span", {}, where),
      score != null && el("span", { class: "score", title: "Relevance" }, score.toFixed(2)),
    ),
    el("blockquote", { class: "text" }, marked(text, span)),
    places.length > 0 && el("p", { class: "quiet" }, `Also in ${places.join("; ")}`),
    stale && el("p", { class: "trouble" }, `An older version: the file ${stale}`),
    button("Copy", (event) => copy(`${text}\n— ${[name, where].filter(Boolean).join(", ")}`, event), {
      class: "copy",
      "aria-label": `Copy the passage from ${name}`,
    }),
  );
}

/** Returns a text with what stands at `span` marked, as nodes. */
function marked(text, span) {
  const flowing = Array.from(flow(text));
  const [start, end] = span || [0, 0];
  const shown = (...part) => flowing.slice(...part).join("").replace(/\n{3,}/g, "\n\n");
  if (end <= start) return [shown(0)];
  return [shown(0, start), el("mark", {}, shown(start, end)), shown(end)];
}

// Lines of prose that were broken at a fixed width are joined; rows of tables have colons. Length
// stays the same, so offsets still hold.
const flow = (text) => text.replace(/(?<=[^\n:;|]{60})\n(?=[\p{L}\p{N}"“‘(])/gu, " ");

/** Shows a whole document with what stands from `from` to `to` marked, or from its beginning. */
export async function openDocument(name, from = 0, to = 0) {
  try {
    const entry = await find(name);
    if (!entry) throw new Error("This document is not in the store any more.");
    fill(await get(`documents/${entry.id}`), from, to);
  } catch (error) {
    fill({ name, pieces: [], trouble: error.message });
  }
}

async function find(name) {
  for (let after; ; ) {
    const page = await get("documents", { query: { match: name, limit: 1000, after } });
    const found = page.data.find((document) => document.name === name);
    if (found || !page.has_more) return found;
    after = page.data.at(-1).id;
  }
}

function fill(whole, from, to) {
  $("panel-name").textContent = shortened(whole.name);
  $("panel-name").title = whole.name;
  const about = whole.trouble
    ? [whole.trouble]
    : [whole.title, whole.date, whole.tags.join(", "), count(whole.characters, "character")];
  $("panel-about").textContent = about.filter(Boolean).join(" · ");
  let before = "";
  const parts = whole.pieces.flatMap(({ heading, place, text, start, end }) => {
    const where = [heading, place].filter(Boolean).join(", ");
    const label = where !== before && where && el("p", { class: "where" }, where);
    before = where;
    const span = to > start && from < end && [Math.max(0, from - start), to - start];
    return [label, el("p", {}, marked(text, span))].filter(Boolean);
  });
  $("panel-text").replaceChildren(...parts);
  if (!$("panel").open) $("panel").showModal();
  const mark = $("panel-text").querySelector("mark");
  if (mark) mark.scrollIntoView({ block: "center" });
  else $("panel-text").scrollTop = 0;
}

async function copy(text, event) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // a page without TLS from another machine has no clipboard
  }
  const pressed = event.target;
  pressed.textContent = "Copied";
  announce("Copied.");
  setTimeout(() => (pressed.textContent = "Copy"), 2000);
}

function copyBySelection(text) {
  const area = el("textarea", { class: "unseen" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

$("panel-close").onclick = () => $("panel").close();
$("panel").onclick = (event) => {
  if (event.target === $("panel")) $("panel").close(); // beside it
};
