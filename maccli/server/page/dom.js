// Small words for making elements. Children that are strings become text nodes, never markup.

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter(Boolean));
  return element;
}

export const button = (text, onclick, attributes = {}) =>
  el("button", { type: "button", onclick, ...attributes }, text);

/** Says something to those who do not see the page. */
export function announce(text) {
  $("status").textContent = text;
}

export function show(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** The last part of a path; what is not a path stays as it is. */
export const shortened = (name) => name.split(/[/\\]/).filter(Boolean).pop() ?? name;
