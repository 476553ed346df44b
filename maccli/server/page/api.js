// Requests to the server: the store and the tag they are about, the key, errors, streams, uploads.

import { $ } from "./dom.js";

/** What every request is about. The store is "" for the first, the tag "" for all documents. */
export const chosen = { store: "", tag: "" };

const KEY = "mac-key";
let asking = null;

/** What went wrong, in words for people; `code` is the server's word for it. */
export class Problem extends Error {
  constructor(message, code = "") {
    super(message);
    this.code = code;
  }
}

/** Returns the response of a route once it is a good one; asks for the key where one is needed. */
export async function call(path, { method = "GET", query, body, signal, keepalive, store } = {}) {
  for (;;) {
    const key = shownKey();
    const headers = { ...authorization(key), ...(body && { "Content-Type": "application/json" }) };
    const content = body && JSON.stringify(body);
    const request = { method, headers, body: content, signal, keepalive };
    const response = await fetch(address(path, query, store), request).catch(lost);
    if (response.ok) return response;
    if (response.status !== 401) throw problemOf(await response.text());
    await otherKey(key);
  }
}

export const get = async (path, options) => (await call(path, options)).json();

export const post = (path, body, options) => get(path, { method: "POST", body, ...options });

/** Yields the events of a stream of server-sent events. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read().catch(lost);
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      if (!block.startsWith("data: {")) continue; // a comment, or the end
      const event = JSON.parse(block.slice(6));
      if (event.error) throw new Problem(event.error.message, event.error.code);
      yield event;
    }
  }
}

/** Sends a file and returns the document; `onProgress` gets the share that is sent, up to 1. */
export async function upload(file, name, tags, store, onProgress) {
  for (;;) {
    const key = shownKey();
    const form = new FormData();
    form.append("name", name);
    for (const tag of tags) form.append("tags", tag);
    form.append("file", file);
    const { status, text } = await sent(form, address("documents", {}, store), key, onProgress);
    if (status >= 200 && status < 300) return JSON.parse(text);
    if (status !== 401) throw problemOf(text);
    await otherKey(key);
  }
}

// fetch does not tell how much of a body is sent.
function sent(form, url, key, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    for (const [name, value] of Object.entries(authorization(key))) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onload = () => resolve({ status: request.status, text: request.responseText });
    const lost = "The upload broke off: the file cannot be read, or has more than 50 MB.";
    request.onerror = () => reject(new Problem(lost));
    request.send(form);
  });
}

function address(path, query = {}, store = chosen.store) {
  const given = Object.entries({ store, ...query }).filter(([, value]) => value);
  return given.length ? `v1/${path}?${new URLSearchParams(given)}` : `v1/${path}`;
}

function lost(error) {
  throw error.name === "AbortError" ? error : new Problem("The server does not answer.");
}

function problemOf(text) {
  try {
    const { message, code } = JSON.parse(text).error;
    return new Problem(message, code);
  } catch {
    return new Problem("The server gave an answer that cannot be read.");
  }
}

const shownKey = () => sessionStorage.getItem(KEY) ?? "";

const authorization = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

/** Waits until there is another key than one that was refused. Requests at once share the wait. */
function otherKey(refused) {
  if (shownKey() !== refused) return Promise.resolve();
  asking ??= new Promise((resolve) => {
    const dialog = $("key");
    $("key-trouble").textContent = refused && "This key is wrong.";
    dialog.onclose = () => dialog.showModal(); // Escape: without a key there is nothing to see
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, $("key-value").value);
      $("key-value").value = "";
      dialog.onclose = null;
      dialog.close();
      asking = null;
      resolve();
    };
    dialog.showModal();
  });
  return asking;
}
