// Comfort: times in the reader's zone, a key for the search, and copying. Every page works without it.
(() => {
  "use strict";
  const format = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.textContent = format.format(new Date(time.dateTime)).replace(",", "");
  }
  const zone = document.querySelector(".zone");
  if (zone) {
    zone.parentNode.firstChild.textContent = "Times are in ";
    zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
    zone.hidden = false;
  }
  document.addEventListener("keydown", (event) => {
    const typing = /^(input|select|textarea)$/i.test(event.target.tagName);
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const search = document.querySelector("input[type=search]");
    event.preventDefault();
    if (search) search.focus();
    else if (document.querySelector('nav a[href="/search"]')) location.href = "/search";
  });
  for (const code of document.querySelectorAll("code.copy")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    });
    code.after(" ", button);
  }
})();
