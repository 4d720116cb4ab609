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

  // --- The table of all images ---

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
        return [row, numeric ? numberOf(value) : value.toLowerCase()];
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
  const numberOf = (written) => Number.parseFloat(written.replace("\u2212", "-"));
  const tests = {
    holds: (row, field) => text(row, field.dataset.column).toLowerCase().includes(field.value.toLowerCase()),
    badge: (row, field) => all(".badge", row).some((badge) => badge.textContent === field.value),
    most: (row, field) => numberOf(text(row, field.dataset.column)) <= Number(field.value),
    least: (row, field) => numberOf(text(row, field.dataset.column)) >= Number(field.value),
  };
  const fields = all(".filters [data-test]");
  const filter = () => {
    const set = fields.filter((field) => field.value);
    rows.forEach((row) => { row.hidden = !set.every((field) => tests[field.dataset.test](row, field)); });
    one("#shown").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown`;
  };
  fields.forEach((field) => field.addEventListener("input", filter));
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

  const address = (painted) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [painted.width, painted.height];
    canvas.getContext("2d").putImageData(painted, 0, 0);
    return canvas.toDataURL();
  };
  const title = (map) => (map.part ? `${map.part} (${map.place})` : `layer ${map.place}`);

  function heatmap(figure) {
    const maps = JSON.parse(one(".maps", figure).textContent);
    const [heat, picture, laid, read, cross] = [".heat", ".map", ".laid", ".read", ".cross"].map((part) => one(part, figure));
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d", { willReadFrequently: true });
    let map = maps[0];
    let ends = map.limit;
    let pixels = null;

    const load = async () => {
      if (pixels || !map) return;
      const [wanted, image] = [map, new Image()];
      image.src = map.uri;
      await image.decode();
      if (map !== wanted) return;
      [canvas.width, canvas.height] = [map.width, map.height];
      context.clearRect(0, 0, map.width, map.height);
      context.drawImage(image, 0, 0);
      pixels = context.getImageData(0, 0, map.width, map.height).data;
    };
    const levelAt = (start) => nearest([...pixels.slice(start, start + 3)]);
    const at = async (place, current) => {
      await load();
      if (!current() || !pixels) return;
      const [x, y] = [Math.min(map.width - 1, Math.floor(place[0] * map.width)), Math.min(map.height - 1, Math.floor(place[1] * map.height))];
      const level = levelAt(4 * (y * map.width + x));
      const share = (Math.abs(level) / levels) * (map.limit / (ends || 1));
      const strength = share > 0.9999 ? "at the end of the scale" : `${percent(share)} of the scale`;
      const value = level ? `${signed((level / levels) * map.limit)} (${strength})` : "0";
      read.textContent = `Row ${y + 1}, column ${x + 1}: relevance ${value}.`;
      Object.assign(cross.style, { left: `${(100 * (x + 0.5)) / map.width}%`, top: `${(100 * (y + 0.5)) / map.height}%` });
      cross.hidden = false;
    };
    const rest = () => {
      cross.hidden = true;
      read.textContent = map ? map.text : "There is nothing to explain: the target has no pixels.";
    };
    const show = (rule, target, depth) => {
      const choice = maps.filter((entry) => entry.rule === rule && entry.target === target);
      map = choice[Math.min(depth, choice.length - 1)];
      ends = map?.limit;
      pixels = null;
      picture.hidden = laid.hidden = !map;
      if (map) {
        picture.src = map.uri;
        picture.alt = `Relevance under the rule ${rule}, of ${targets[target]}${map.place ? `, at ${title(map)}` : ""}`;
      }
      rest();
    };
    // Paints the map over the image, and anew where its strongest colours are to stand for a limit
    // of all maps, not its own. Over the image it is the more opaque the stronger it is.
    const scale = async (limit) => {
      const wanted = map;
      if (!map) return;
      ends = limit;
      await load();
      if (map !== wanted || ends !== limit || !pixels) return;
      const [plain, over] = [new ImageData(map.width, map.height), new ImageData(map.width, map.height)];
      for (let start = 0; start < pixels.length; start += 4) {
        const level = limit ? Math.round((levelAt(start) * map.limit) / limit) : 0;
        plain.data.set([...colours[level + levels], 255], start);
        over.data.set([...colours[level + levels], Math.round((255 * Math.abs(level)) / levels)], start);
      }
      laid.src = address(over);
      if (limit !== map.limit) picture.src = address(plain);
    };
    return { maps, heat, at, rest, show, scale, map: () => map };
  }

  // All heatmaps of an image change together and are read at the same place.
  function heatmaps(article) {
    const outlined = one(".outlined", article);
    outlined.addEventListener("input", () => article.classList.toggle("bare", !outlined.checked));
    const views = all(".relevance", article).map(heatmap);
    if (!views.length) return;
    const kinds = (name) => [...new Set(views.flatMap((view) => view.maps.map((map) => map[name])))];
    const rules = kinds("rule");
    const [depth, see] = [one(".depth", article), one(".see", article)];
    const chosen = (name) => one(`input[name="${article.id}-${name}"]:checked`, article)?.value;
    let at = null;

    const move = (place) => {
      at = place;
      views.forEach((view) => view.at(place, () => at === place));
    };
    const leave = () => {
      at = null;
      views.forEach((view) => view.rest());
    };
    const paint = () => {
      const limit = Math.max(...views.map((view) => view.map()?.limit ?? 0));
      views.forEach((view) => view.scale(chosen("scale") === "shared" ? limit : view.map()?.limit));
    };
    const change = () => {
      const [rule, target] = [rules[chosen("rule")], chosen("target")];
      const counts = views.map((view) => view.maps.filter((map) => map.rule === rule && map.target === target).length);
      depth.max = Math.max(...counts) - 1;
      depth.disabled = depth.max < 1;
      at = null;
      views.forEach((view) => view.show(rule, target, depth.value));
      paint();
      const alone = views.length === 1 && views[0].map();
      const place = alone ? alone.place && title(alone) : depth.value > 0 && `layer ${depth.value} of ${depth.max}`;
      depth.setAttribute("aria-valuetext", place || "image");
      one(".where", article).textContent = place || (depth.disabled ? "image only" : "image");
    };
    all("input[type=radio], .depth", article).forEach((input) => input.addEventListener("input", change));
    see.addEventListener("input", () => {
      article.style.setProperty("--see", see.value / 100);
      one(".seen", article).textContent = `${see.value} %`;
    });
    views.forEach(({ heat, map }) => {
      heat.addEventListener("pointermove", (event) => {
        const box = heat.getBoundingClientRect();
        move([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((part) => Math.min(Math.max(part, 0), 1)));
      });
      heat.addEventListener("pointerleave", leave);
      heat.addEventListener("blur", leave);
      heat.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (event.key === "Escape") leave();
        if (!step || !map()) return;
        event.preventDefault();
        const { width, height } = map();
        const far = event.shiftKey ? 10 : 1;
        const [x, y] = at ? [Math.floor(at[0] * width), Math.floor(at[1] * height)] : [width >> 1, height >> 1];
        const [column, row] = at ? [x + far * step[0], y + far * step[1]] : [x, y];
        move([
          (Math.min(Math.max(column, 0), width - 1) + 0.5) / width,
          (Math.min(Math.max(row, 0), height - 1) + 0.5) / height,
        ]);
      });
    });
  }
  all(".image").forEach(heatmaps);
})();
