"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const percent = (value) => `${Math.round(100 * value)} %`;

  // --- Light and dark, printing, contents ---

  const theme = one("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const named = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  try {
    const kept = localStorage.getItem("kerasgan-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* Storage may be closed to files. */ }
  named();
  system.addEventListener("change", named);
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    named();
    try { localStorage.setItem("kerasgan-theme", root.dataset.theme); } catch { /* As above. */ }
  });
  one("#print").addEventListener("click", () => print());
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -75% 0px" });
  all("main > section").forEach((section) => watcher.observe(section));

  // --- The table of every image ---

  const table = one("#table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const order = new Map(rows.map((row, index) => [row, index]));
  const text = (row, column) => row.cells[column].textContent.trim();
  const ascending = new Map();
  const keyed = (column, numeric) => {
    if (!ascending.has(column)) {
      ascending.set(column, new Map(rows.map((row) => {
        const value = text(row, column);
        return [row, numeric ? Number.parseFloat(value) : value.toLowerCase()];
      })));
    }
    return ascending.get(column);
  };
  all(".sort", table).forEach((button) => button.addEventListener("click", () => {
    const head = button.closest("th");
    const numeric = head.classList.contains("n");
    const keys = keyed(head.cellIndex, numeric);
    const up = head.getAttribute("aria-sort") !== "ascending";
    all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const sign = up ? 1 : -1;
    const sorted = [...rows].sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      const missing = Number.isNaN(x) - Number.isNaN(y);
      if (missing) return missing;
      return sign * (x > y ? 1 : x < y ? -1 : 0) || order.get(a) - order.get(b);
    });
    body.append(...sorted);
  }));
  const filters = { name: one("#filter-name"), kind: one("#filter-kind"), dice: one("#filter-dice") };
  const filter = () => {
    const name = filters.name.value.toLowerCase();
    const kind = filters.kind?.value;
    const most = filters.dice?.value ? Number(filters.dice.value) : Infinity;
    let shown = 0;
    for (const row of rows) {
      const badges = kind ? all(".badge", row).map((badge) => badge.textContent) : [];
      const dice = most < Infinity ? Number.parseFloat(text(row, 2)) : 0;
      row.hidden = !(text(row, 1).toLowerCase().includes(name) && (!kind || badges.includes(kind)) && dice <= most);
      shown += !row.hidden;
    }
    one("#shown").textContent = `${shown} of ${rows.length} shown`;
  };
  Object.values(filters).forEach((field) => field?.addEventListener("input", filter));
  one(".filters").addEventListener("submit", (event) => event.preventDefault());

  // --- Heatmaps ---

  const { colours, levels, targets } = JSON.parse(one("#palette").textContent);
  const levelOf = new Map(colours.map((colour, index) => [colour.join(), index - levels]));
  const nearest = (pixel) => {
    const exact = levelOf.get(pixel.join());
    if (exact !== undefined) return exact;
    const far = colours.map((colour) => colour.reduce((sum, part, i) => sum + (part - pixel[i]) ** 2, 0));
    return far.indexOf(Math.min(...far)) - levels;
  };
  const signed = (value) => (value > 0 ? "+" : "") + value.toPrecision(2);

  function heatmap(article) {
    const maps = JSON.parse(one(".maps", article).textContent);
    const rules = [...new Set(maps.map((map) => map.rule))];
    const [heat, picture, read] = [one(".heat", article), one(".map", article), one(".read", article)];
    const [cross, depth, see] = [one(".cross", article), one(".depth", article), one(".see", article)];
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d", { willReadFrequently: true });
    let map = maps[0];
    let pixels = null;
    let at = null;

    const summary = () => {
      if (map.place) return `Relevance at layer ${map.place}, ${map.cells} cells: the deeper, the coarser.`;
      if (map.positive === undefined) return "There is nothing to explain: no such pixel.";
      let signs = `${percent(map.positive)} speaks for, ${percent(1 - map.positive)} against.`;
      if (map.positive > 0.9995) signs = "All of it speaks for.";
      if (map.positive < 0.0005) signs = "All of it speaks against.";
      return `${signs} ${percent(map.inside)} lies inside ${map.target === "prediction" ? "the outline" : targets[map.target]}.`;
    };
    const load = async () => {
      if (pixels) return;
      const wanted = map;
      await picture.decode();
      if (map !== wanted) return;
      [canvas.width, canvas.height] = [map.width, map.height];
      context.clearRect(0, 0, map.width, map.height);
      context.drawImage(picture, 0, 0);
      pixels = context.getImageData(0, 0, map.width, map.height).data;
    };
    const value = async () => {
      if (!at) return;
      await load();
      if (!at || !pixels) return;
      const [x, y] = [Math.min(map.width - 1, Math.floor(at[0] * map.width)), Math.min(map.height - 1, Math.floor(at[1] * map.height))];
      const start = 4 * (y * map.width + x);
      const level = nearest([...pixels.slice(start, start + 3)]);
      const share = Math.abs(level) / levels;
      const strength = share === 1 ? "at the end of the scale" : `${percent(share)} of the scale`;
      read.textContent = level
        ? `Row ${y + 1}, column ${x + 1}: ${level > 0 ? "speaks for" : "speaks against"}, ${signed((level / levels) * map.limit)} (${strength}).`
        : `Row ${y + 1}, column ${x + 1}: no say (0).`;
      Object.assign(cross.style, { left: `${(100 * (x + 0.5)) / map.width}%`, top: `${(100 * (y + 0.5)) / map.height}%` });
      cross.hidden = false;
    };
    const leave = () => {
      at = null;
      cross.hidden = true;
      read.textContent = summary();
    };
    const change = () => {
      const rule = rules[one(`input[name="${article.id}-rule"]:checked`, article).value];
      const target = one(`input[name="${article.id}-target"]:checked`, article).value;
      const choice = maps.filter((entry) => entry.rule === rule && entry.target === target);
      depth.max = choice.length - 1;
      depth.disabled = choice.length < 2;
      map = choice[Math.min(depth.value, choice.length - 1)];
      depth.setAttribute("aria-valuetext", map.place || "image");
      one(".where", article).textContent = map.place || (depth.disabled ? "image only" : "image");
      pixels = null;
      picture.src = map.uri;
      picture.alt = `Relevance under the rule ${rule}, of ${targets[target]}${map.place ? `, at layer ${map.place}` : ""}`;
      leave();
    };
    all("input[type=radio], .depth", article).forEach((input) => input.addEventListener("input", change));
    see.addEventListener("input", () => {
      heat.style.setProperty("--see", see.value / 100);
      one(".seen", article).textContent = `${see.value} %`;
    });
    heat.addEventListener("pointermove", (event) => {
      const box = heat.getBoundingClientRect();
      at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((part) => Math.min(Math.max(part, 0), 1));
      value();
    });
    heat.addEventListener("pointerleave", leave);
    heat.addEventListener("blur", leave);
    heat.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === "Escape") leave();
      if (!step) return;
      event.preventDefault();
      const far = event.shiftKey ? 10 : 1;
      const [x, y] = at ? [Math.floor(at[0] * map.width), Math.floor(at[1] * map.height)] : [map.width >> 1, map.height >> 1];
      const moved = at ? [x + far * step[0], y + far * step[1]] : [x, y];
      at = [
        (Math.min(Math.max(moved[0], 0), map.width - 1) + 0.5) / map.width,
        (Math.min(Math.max(moved[1], 0), map.height - 1) + 0.5) / map.height,
      ];
      value();
    });
  }
  all(".case").forEach(heatmap);
})();
