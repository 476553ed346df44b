// The list of documents, uploads, and removal, which can be taken back for a while.

import { call, chosen, get, upload } from "./api.js";
import { $, announce, button, count, el, shortened } from "./dom.js";
import { openDocument } from "./passages.js";

const UNDO = 6000; // milliseconds
const PAGE = 100;
const removals = new Map(); // from a document's id to its row meanwhile, and what removes it at once
const queue = [];
let last = null;
let loading = null;
let sending = false;
let filtering = 0;
let onTag = () => {};

/** Calls this with a tag when one is chosen. */
export function whenTagged(call) {
  onTag = call;
}

/** Shows the documents, from the first. */
export async function loadDocuments() {
  last = null;
  await more();
}

async function more() {
  loading?.abort();
  loading = new AbortController();
  const { signal } = loading;
  const query = { match: $("filter").value.trim(), tags: chosen.tag, limit: PAGE, after: last };
  try {
    const { data, has_more } = await get("documents", { query, signal });
    const rows = data.map((entry) => removals.get(entry.id)?.gone ?? row(entry));
    if (last === null) $("list").replaceChildren(...rows);
    else $("list").append(...rows);
    last = data.at(-1)?.id ?? last;
    $("more-documents").hidden = !has_more;
    note();
  } catch (error) {
    if (!signal.aborted) $("documents-note").textContent = error.message;
  }
}

function note() {
  const number = $("list").children.length;
  const narrowed = $("filter").value.trim() || chosen.tag;
  const none = narrowed ? "No document like this." : "No documents yet.";
  const least = $("more-documents").hidden ? "" : "The first ";
  $("documents-note").textContent = number ? `${least}${count(number, "document")}` : none;
}

function row(entry) {
  const { name, title, tags, characters, date, chunks, expected, stale } = entry;
  const item = el(
    "li",
    {},
    el(
      "p",
      { class: "where" },
      button(shortened(name), () => openDocument(name), { class: "open", title: name }),
      title && title !== shortened(name) && el("span", {}, title),
      tags.map((tag) => button(tag, () => onTag(tag), { class: "tag", title: "Only this tag" })),
    ),
    el(
      "p",
      { class: "quiet" },
      [date, count(characters, "character"), chunks < expected && `${Math.floor((100 * chunks) / expected)} % read`]
        .filter(Boolean)
        .join(" · "),
    ),
    button("Remove", () => remove(entry, item), { "aria-label": `Remove ${shortened(name)}` }),
    stale && el("p", { class: "trouble" }, `An older version: the file ${stale}`),
  );
  return item;
}

function remove(entry, item) {
  const { id, name } = entry;
  const { store } = chosen;
  const undo = button("Undo", () => {
    clearTimeout(timer);
    removals.delete(id);
    const back = row(entry);
    gone.replaceWith(back);
    back.querySelector(".open").focus();
    announce(`${shortened(name)} is kept.`);
  });
  const gone = el("li", { class: "gone" }, el("p", {}, `${shortened(name)} is removed.`), undo);
  const now = async () => {
    clearTimeout(timer);
    removals.delete(id);
    undo.remove();
    try {
      await call(`documents/${id}`, { method: "DELETE", keepalive: true, store });
      gone.remove();
      if (id === last) loadDocuments(); // the next page would begin after it
      else note();
    } catch (error) {
      const trouble = el("p", { class: "trouble" }, error.message);
      gone.replaceWith(row(entry), el("li", {}, trouble));
    }
  };
  const timer = setTimeout(now, UNDO);
  removals.set(id, { gone, now });
  item.replaceWith(gone);
  undo.focus();
  announce(`${shortened(name)} is removed. Undo is possible for ${UNDO / 1000} seconds.`);
}

/** Removes now what could still be taken back. */
export function removeNow() {
  for (const { now } of removals.values()) now();
}

/** Sends files, given with the names that they are to have, one after the other. */
async function send(files) {
  const tags = $("tags").value.split(",").map((tag) => tag.trim()).filter(Boolean);
  const { store } = chosen;
  for (const { file, name } of files) {
    const state = el("span", { class: "quiet" }, "waits");
    const progress = el("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
    const item = el("li", {}, el("span", {}, name), progress, state);
    $("uploads").append(item);
    queue.push({ file, name, tags, store, item, progress, state });
  }
  if (sending) return;
  sending = true;
  for (let next; (next = queue.shift()); ) await sendOne(next);
  sending = false;
  loadDocuments();
}

async function sendOne({ file, name, tags, store, item, progress, state }) {
  const close = button("Dismiss", () => item.remove(), { "aria-label": `Dismiss ${name}` });
  try {
    const added = await upload(file, name, tags, store, (share) => {
      progress.value = share;
      state.textContent = "is sent";
      if (share < 1) return;
      progress.removeAttribute("value"); // how long the reading takes is not known
      state.textContent = "is read";
    });
    state.textContent = added.remark ? `${added.status}, but it ${added.remark}` : added.status;
    if (!added.remark) setTimeout(() => item.remove(), UNDO);
  } catch (error) {
    state.textContent = error.message.replace(`${name} `, "");
    state.className = "trouble";
  }
  announce(`${name}: ${state.textContent}`);
  progress.remove();
  item.append(close);
}

/** Returns the files in a folder and the folders in it, hidden ones left out. */
async function filesIn(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: entry.fullPath.replace(/^\/+/, "") }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const each of some) if (!each.name.startsWith(".")) found.push(...(await filesIn(each)));
  }
}

async function drop(event) {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry()).filter(Boolean); // before any await
  location.hash = "#documents";
  try {
    for (const entry of entries) send(await filesIn(entry));
  } catch (error) {
    $("documents-note").textContent = `The folder cannot be read: ${error.message}`;
  }
}

const withFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!withFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => withFiles(event) && drop(event));
addEventListener("pagehide", removeNow);
addEventListener("beforeunload", (event) => sending && event.preventDefault());

$("files").onchange = () => {
  send([...$("files").files].map((file) => ({ file, name: file.name })));
  $("files").value = "";
};
$("filter").addEventListener("input", () => {
  clearTimeout(filtering);
  filtering = setTimeout(loadDocuments, 200);
});
$("more-documents").onclick = more;
