// Names of parts of the page that the theme leaves without, for those who have the page read to them.
function addNames() {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  for (const part of document.querySelectorAll("nav[aria-labelledby]")) {
    const label = document.getElementById(part.getAttribute("aria-labelledby"));
    if (label && !label.textContent.trim()) {
      part.removeAttribute("aria-labelledby");
      part.setAttribute("aria-label", label.parentElement.textContent.trim());
    }
  }
  for (const part of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0; // scrolled by keys
  }
  document.querySelectorAll("nav.md-code__nav:not([aria-label])").forEach((part) => {
    part.setAttribute("aria-label", `Code ${[...document.querySelectorAll("pre")].indexOf(part.closest("pre")) + 1}`);
  });
}
addNames();
new MutationObserver(addNames).observe(document.body, { childList: true, subtree: true });
