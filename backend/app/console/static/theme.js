"use strict";

// Runs before the page is painted. The server has set light or dark where one was chosen; "auto" follows the system,
// also when it changes while the page is open.
const root = document.documentElement;
if (root.dataset.theme === "auto") {
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const follow = () => root.setAttribute("data-bs-theme", prefersDark.matches ? "dark" : "light");
  follow();
  prefersDark.addEventListener("change", follow);
}
