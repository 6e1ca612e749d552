(function () {
  "use strict";
  var root = document.documentElement;
  function remembered(key) { try { return localStorage.getItem(key); } catch (refused) { return null; } }
  function remember(key, value) { try { localStorage.setItem(key, value); } catch (refused) { return; } }
  var theme = document.getElementById("theme");
  if (theme) {
    var dark = function () {
      var set = root.getAttribute("data-theme");
      return set ? set === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
    };
    var kept = remembered("meshlib-theme");
    if (kept === "light" || kept === "dark") { root.setAttribute("data-theme", kept); }
    theme.setAttribute("aria-pressed", String(dark()));
    theme.addEventListener("click", function () {
      var next = dark() ? "light" : "dark";
      root.setAttribute("data-theme", next);
      remember("meshlib-theme", next);
      theme.setAttribute("aria-pressed", String(next === "dark"));
    });
  }
  var code = document.getElementById("code");
  if (code) {
    var show = function (visible) {
      document.body.classList.toggle("no-code", !visible);
      code.setAttribute("aria-pressed", String(visible));
    };
    show(remembered("meshlib-code") !== "hidden");
    code.addEventListener("click", function () {
      var visible = document.body.classList.contains("no-code");
      show(visible);
      remember("meshlib-code", visible ? "shown" : "hidden");
    });
  }
  var narrow = window.matchMedia("(max-width: 72rem)").matches;
  document.querySelectorAll(".toc details").forEach(function (part) { part.open = !narrow; });
})();
