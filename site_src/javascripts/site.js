/* Formulas, and what the theme leaves out for readers without a mouse or eyes. */
document$.subscribe(() => {
  const math = [...document.querySelectorAll(".arithmatex, .jp-RenderedMarkdown")];
  for (const element of math) {
    renderMathInElement(element, {
      delimiters: [
        { left: "\\(", right: "\\)", display: false },
        { left: "\\[", right: "\\]", display: true },
        { left: "$$", right: "$$", display: true },
        { left: "$", right: "$", display: false },
      ],
      throwOnError: false,
    });
  }

  const name = (selector, label) => {
    document.querySelectorAll(selector).forEach((element, number, all) => {
      if (!element.hasAttribute("aria-label") && !element.hasAttribute("aria-labelledby")) {
        element.setAttribute("aria-label", all.length > 1 ? `${label} ${number + 1}` : label);
      }
    });
  };
  name(".md-search[role=dialog]", "Search");
  name(".md-search__form", "Search form");

  // Whatever scrolls sideways can be reached with the keyboard.
  const scrolls = () => {
    const wide = ".md-typeset pre > code, .md-typeset__table, .md-typeset__table > table, .md-typeset__scrollwrap, " +
      ".katex-display, .jp-OutputArea-output, .highlight-ipynb, .highlight-ipynb pre, " +
      ".jp-RenderedText pre, .md-typeset p:has(> svg, > img)";
    for (const element of document.querySelectorAll(wide)) {
      if (element.scrollWidth > element.clientWidth + 1) {
        element.tabIndex = 0;
        const table = element.matches("table"); // stays one
        if (!table && !element.hasAttribute("role")) element.setAttribute("role", "group");
        if (!element.hasAttribute("aria-label")) {
          element.setAttribute("aria-label", "scrolls sideways");
        }
      }
    }
  };
  scrolls();
  document.fonts.ready.then(scrolls);
  addEventListener("load", scrolls);
  addEventListener("resize", scrolls);

  // The theme gives nested lists of pages the same name, or none.
  for (const nav of document.querySelectorAll("nav.md-nav[aria-labelledby]")) {
    const title = document.getElementById(nav.getAttribute("aria-labelledby"));
    const words = (title ? title.textContent : "").trim() || "Pages";
    nav.removeAttribute("aria-labelledby");
    nav.setAttribute("aria-label", `${words}, level ${nav.dataset.mdLevel}`);
  }

  // The theme makes a landmark for each code block's buttons: one page, dozens of landmarks.
  const tame = () => {
    for (const nav of document.querySelectorAll("nav.md-code__nav")) {
      nav.setAttribute("role", "none");
      nav.removeAttribute("aria-label");
    }
  };
  tame();
  const content = document.querySelector("[data-md-component=content]");
  if (content) new MutationObserver(tame).observe(content, { childList: true, subtree: true });
});
