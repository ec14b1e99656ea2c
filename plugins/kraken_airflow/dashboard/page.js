// Follows Airflow's theme, says how old the page is, and keeps it young. It asks nobody but this page's own address.
"use strict";
(() => {
  // Airflow keeps the choice of its theme under this name; other documents of the origin hear of a change.
  const THEME = "theme";
  const REFRESH_SECONDS = 60;
  const STALE_SECONDS = 180;
  const RETRY_SECONDS = 15;
  const root = document.documentElement;

  const follow = () => {
    let theme = null;
    try {
      theme = localStorage.getItem(THEME);
    } catch {
      // A browser that keeps nothing has the system's theme.
    }
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    document.dispatchEvent(new Event("themed"));
  };
  follow();
  addEventListener("storage", (event) => {
    if (event.key === THEME || event.key === null) follow();
  });

  let seenAt = Date.now();
  let triedAt = seenAt;
  let trouble = "";
  let isAsking = false;

  const ageSeconds = () => Math.round((Date.now() - seenAt) / 1000);

  const words = (seconds) => {
    if (seconds < 90) return `${seconds} s`;
    return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
  };

  // Whoever types, reads the values of a chart or marks text must not lose it.
  const isInUse = (main) =>
    main.contains(document.activeElement) ||
    !(getSelection()?.isCollapsed ?? true) ||
    main.querySelector("details[open], figure:hover, figure[data-zoomed]") !== null ||
    [...main.querySelectorAll("input")].some((field) => field.value !== field.defaultValue);

  const tell = () => {
    const age = ageSeconds();
    for (const place of document.querySelectorAll(".aging")) place.textContent = `, ${words(age)} ago`;
    const isStale = trouble !== "" || age >= STALE_SECONDS;
    root.classList.toggle("stale", isStale);
    const banner = document.getElementById("stale");
    const told = isStale ? `${trouble || "Not refreshed."} What stands here is ${words(age)} old.` : "";
    if (banner.textContent !== told) banner.textContent = told;
    banner.hidden = !isStale;
  };

  const replace = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const old = document.querySelector("main");
    const young = fresh.querySelector("main");
    if (!young?.querySelector(".aging")) throw new Error("another page");
    if (isInUse(old)) {
      // The verdict and its time alone; the rest follows when it is let go.
      for (const part of [".answer", ".seen"]) {
        const [before, after] = [old.querySelector(part), young.querySelector(part)];
        if (before && after) before.replaceWith(document.adoptNode(after));
      }
    } else {
      old.replaceWith(document.adoptNode(young));
      document.dispatchEvent(new Event("refreshed"));
    }
  };

  const refresh = async () => {
    if (isAsking) return;
    isAsking = true;
    triedAt = Date.now();
    try {
      const signal = AbortSignal.timeout(RETRY_SECONDS * 1000);
      const reply = await fetch(location.href, { cache: "no-store", redirect: "manual", signal });
      if (reply.type === "opaqueredirect" || reply.status === 401) trouble = "You are signed in no longer: load the page again.";
      else if (!reply.ok) trouble = `The server answers ${reply.status}.`;
      else {
        replace(await reply.text());
        [seenAt, trouble] = [Date.now(), ""];
      }
    } catch {
      trouble = "The server cannot be reached.";
    }
    isAsking = false;
    tell();
  };

  const look = () => {
    tell();
    const isDue = Date.now() - triedAt >= (trouble ? RETRY_SECONDS : REFRESH_SECONDS) * 1000;
    if (isDue && !document.hidden) refresh();
  };

  document.addEventListener("DOMContentLoaded", () => {
    // What is asked for once, such as a page of the documentation, has no age.
    if (!document.querySelector(".aging")) return;
    tell();
    setInterval(look, 1000);
    document.addEventListener("visibilitychange", look);
    // A script of the page knows that something was done.
    document.addEventListener("outdated", refresh);
  });
})();
