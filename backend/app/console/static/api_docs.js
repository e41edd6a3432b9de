"use strict";

// Follow the system's light or dark setting, also when it changes while the page is open.
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
const applyColourScheme = () => document.documentElement.classList.toggle("dark-mode", prefersDark.matches);
applyColourScheme();
prefersDark.addEventListener("change", applyColourScheme);

SwaggerUIBundle({
  dom_id: "#api-docs",
  url: "/schema/openapi.json",
  // Nothing leaves this host: no online validator, and no token kept in the browser's storage.
  validatorUrl: null,
  persistAuthorization: false,
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
});
