"use strict";

// What the console adds to its pages: keys, menus that close, counting what is selected, and saying when the live parts
// get no answer. Every page works without it.

const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

// Rows are what j and k walk through: the links and buttons marked by data-row.
const rows = () => [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
const walk = (step) => {
  const all = rows();
  if (all.length === 0) return;
  const here = all.findIndex((row) => row === document.activeElement);
  const next = here === -1 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + step, 0), all.length - 1);
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
};

let isGoing = false;
const keys = {
  "/": () => document.querySelector("[data-shortcut='/']")?.focus(),
  j: () => walk(1),
  k: () => walk(-1),
  x: () => {
    const box = document.activeElement.closest("tr")?.querySelector("[data-select]");
    if (box) box.click();
  },
  "?": () => document.getElementById("keys")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (isGoing) {
    isGoing = false;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) {
      event.preventDefault();
      link.click();
    }
    return;
  }
  if (event.key === "g") {
    isGoing = true;
    setTimeout(() => {
      isGoing = false;
    }, 1500);
    return;
  }
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

document.addEventListener("click", (event) => {
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  const opener = event.target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open)?.showModal();
  const copier = event.target.closest("[data-copy]");
  if (copier) copy(copier);
});

// Ids are copied where the browser lets a page do so; elsewhere there is no button for it.
const COPIED_MILLISECONDS = 2000;
document.documentElement.classList.toggle("can-copy", navigator.clipboard !== undefined);
const copy = async (button) => {
  await navigator.clipboard.writeText(button.dataset.copy);
  const said = document.getElementById("copied");
  said.textContent = button.dataset.copied;
  button.classList.add("is-done");
  setTimeout(() => {
    said.textContent = "";
    button.classList.remove("is-done");
  }, COPIED_MILLISECONDS);
};

// A form that was sent is not sent again by a second click. Its buttons are disabled only after the form was read.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  const buttons = [...event.target.querySelectorAll("button"), ...document.querySelectorAll(`button[form="${event.target.id}"]`)];
  setTimeout(() => buttons.forEach((button) => (button.disabled = true)), 0);
});
// Back in the history, a page is as it was left.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("button:disabled").forEach((button) => (button.disabled = false));
});

// How many rows of a table are selected.
const countSelected = () => {
  const bar = document.querySelector("[data-selection]");
  if (!bar) return;
  const boxes = [...document.querySelectorAll("[data-select]")];
  const selected = boxes.filter((box) => box.checked).length;
  bar.querySelector("[data-selected]").textContent = selected;
  bar.classList.toggle("is-empty", selected === 0);
  const all = document.querySelector("[data-select-all]");
  if (all) {
    all.checked = selected > 0 && selected === boxes.length;
    all.indeterminate = selected > 0 && selected < boxes.length;
  }
};
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-select-all]")) {
    document.querySelectorAll("[data-select]").forEach((box) => (box.checked = event.target.checked));
  }
  if (event.target.matches("[data-select], [data-select-all]")) countSelected();
});
document.addEventListener("DOMContentLoaded", countSelected);

// What is live says so when it gets no answer any more.
const lost = (isLost) => {
  const notice = document.getElementById("lost");
  if (notice) notice.hidden = !isLost;
};
document.addEventListener("htmx:sendError", () => lost(true));
document.addEventListener("htmx:responseError", () => lost(true));
document.addEventListener("htmx:afterSwap", () => lost(false));
