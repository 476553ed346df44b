// The views, the choice of a store and a tag, and the keys that work everywhere.

import { chosen, get } from "./api.js";
import { ask, search, startAnew } from "./conversation.js";
import { loadDocuments, removeNow, whenTagged } from "./documents.js";
import { $, show } from "./dom.js";
import { loadLog, whenAskedAgain } from "./log.js";

const VIEWS = ["search", "documents", "log"];
const LOADS = { documents: loadDocuments, log: loadLog };

function view() {
  const wanted = location.hash.slice(1);
  return VIEWS.includes(wanted) ? wanted : "search";
}

function open() {
  const now = view();
  for (const name of VIEWS) $(name).hidden = name !== now;
  for (const link of document.querySelectorAll("nav a")) {
    link.ariaCurrent = link.hash === `#${now}` ? "page" : null;
  }
  LOADS[now]?.();
  if (now === "search") $("question").focus();
}

function choose(tag) {
  chosen.tag = tag;
  for (const chip of document.querySelectorAll(".chosen")) {
    show(chip, tag && `${tag} ×`);
    chip.ariaLabel = `All documents, not only those tagged ${tag}`;
  }
  search();
  LOADS[view()]?.();
}

async function offerStores() {
  const { data } = await get("models");
  const names = data.map(({ id }) => id).filter((id) => /^mac\/(?!.*:search$)/.test(id));
  const stores = names.map((id) => id.slice(4));
  $("store").replaceChildren(...stores.map((name) => new Option(name)));
  $("store-choice").hidden = stores.length < 2;
  chosen.store = stores[0];
}

$("store").onchange = () => {
  removeNow();
  chosen.store = $("store").value;
  startAnew();
  choose("");
};
for (const chip of document.querySelectorAll(".chosen")) chip.onclick = () => choose("");
whenTagged(choose);
whenAskedAgain((question) => {
  location.hash = "#search";
  open();
  ask(question);
});
addEventListener("hashchange", open);
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  event.preventDefault();
  location.hash = "#search";
  open();
  $("question").select();
});

open();
offerStores().catch((error) => show($("trouble"), error.message));
