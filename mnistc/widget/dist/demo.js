/* The demo page: all networks read the same strokes. */
(() => {
  const digits = [...document.querySelectorAll("mnistc-digit")];
  const root = document.documentElement;
  let from = null, last = {};

  document.addEventListener("mnistc-predict", ({ target }) => {
    if (from || !digits.includes(target)) return;
    from = target;
    const strokes = target.strokes, text = JSON.stringify(strokes);
    // A stroke that grows is one step to undo, not one for each frame.
    const grows = last.target === target && last.strokes === strokes.length;
    for (const other of digits) {
      const shown = JSON.stringify(other.strokes);
      if (other !== target && shown !== text) {
        if (grows && shown === last.text) other.undo();
        if (strokes.length) other.strokes = strokes;
        else other.clear();
        other.predict();
      }
    }
    from = null;
    last = { target, text, strokes: strokes.length };
  });

  const themes = document.querySelectorAll("[data-theme]");
  for (const button of themes) {
    button.addEventListener("click", () => {
      const { theme } = button.dataset;
      for (const each of themes) each.setAttribute("aria-pressed", each === button);
      for (const element of [root, ...digits]) {
        if (theme) element.setAttribute("theme", theme);
        else element.removeAttribute("theme");
      }
    });
  }

  const copy = document.getElementById("copy"), snippet = document.getElementById("snippet");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(snippet.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(snippet); // not allowed to: leave the last key to the user
    }
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  });
})();
