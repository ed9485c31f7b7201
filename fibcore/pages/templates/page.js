"use strict";
(() => {
  const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // The URL's hash is #ANCHOR?TABLE.KEY=VALUE&...; either part may be missing.
  function readHash() {
    const text = location.hash.slice(1);
    const cut = text.indexOf("?");
    let anchor = cut < 0 ? text : text.slice(0, cut);
    try { anchor = decodeURIComponent(anchor); } catch { /* not encoded: taken as it is */ }
    return { anchor, params: new URLSearchParams(cut < 0 ? "" : text.slice(cut + 1)) };
  }

  // Long tables show so many rows until somebody asks for all.
  const FOLDED = 30;
  const FOLDED_SMALL = 10;
  const small = matchMedia("(max-width: 760px)");

  let anchor = "";
  let timer = 0;
  function writeHash() {
    clearTimeout(timer);
    // Browsers allow so many changes a second.
    timer = setTimeout(() => {
      const params = new URLSearchParams();
      savePage(params);
      const state = params.toString();
      const hash = "#" + encodeURIComponent(anchor) + (state ? "?" + state : "");
      if (hash !== (location.hash || "#")) {
        history.replaceState(null, "", hash === "#" ? location.pathname + location.search : hash);
      }
    }, 150);
  }

  class DataTable {
    constructor(section) {
      this.id = section.dataset.table;
      this.section = section;
      this.table = section.querySelector("table.sortable");
      this.search = section.querySelector("input[type=search]");
      this.selects = [...section.querySelectorAll("select[data-column]")];
      this.count = section.querySelector(".count");
      this.nothing = section.querySelector(".nothing");
      this.more = section.querySelector("button.more");
      this.whole = false;
      this.headers = [...this.table.querySelectorAll("thead th")];
      this.items = [...this.table.querySelectorAll(".item")].map((element, order) => {
        const row = element.matches("tr") ? element : element.querySelector("tr.summary");
        const cells = [...row.cells];
        const words = cells.map((cell) => cell.textContent + " " + (cell.title || ""));
        const text = (words.join(" ") + " " + (element.dataset.search || "")).toLowerCase();
        return { element, row, cells, order, at: order, text, matches: true };
      });
      this.sorted = null;
      this.labels = this.selects.map((select) => [...select.options].map((o) => o.textContent));
      this.values = this.selects.map((select) => this.items.map((item) => {
        const values = item.cells[select.dataset.column].dataset.values;
        return new Set(values ? JSON.parse(values) : []);
      }));
      this.listen();
      this.show();
    }

    listen() {
      if (this.search) this.search.addEventListener("input", () => this.changed());
      for (const select of this.selects) select.addEventListener("change", () => this.changed());
      for (const button of this.section.querySelectorAll("button.reset")) {
        button.addEventListener("click", () => {
          this.reset();
          if (finder) finder.value = "";
          searchPage();
        });
      }
      this.more.addEventListener("click", () => {
        this.whole = !this.whole;
        this.fold();
        if (!this.whole) this.section.scrollIntoView({ block: "nearest" });
        writeHash();
      });
      this.headers.forEach((header, index) => {
        header.querySelector("button.sort").addEventListener("click", () => {
          const now = this.sorted;
          if (!now || now.index !== index) this.sorted = { index, down: false };
          else this.sorted = now.down ? null : { index, down: true };
          this.sort();
          this.fold();
          writeHash();
        });
      });
      this.section.addEventListener("click", (event) => {
        const button = event.target.closest("button.toggle");
        if (!button) return;
        const item = button.closest(".item");
        const open = button.getAttribute("aria-expanded") !== "true";
        toggle(item, open);
        if (item.id) anchor = open ? item.id : anchor === item.id ? "" : anchor;
        writeHash();
      });
      this.section.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && event.target === this.search && this.search.value) {
          event.preventDefault();
          this.search.value = "";
          this.changed();
        }
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (step && event.target.matches("button.toggle")) {
          const shown = this.items.filter((item) => !item.element.hidden).sort((a, b) => a.at - b.at);
          const here = shown.findIndex((item) => item.element.contains(event.target));
          const next = shown[here + step];
          if (next) { event.preventDefault(); next.row.querySelector("button.toggle")?.focus(); }
        }
      });
    }

    changed() { this.show(); writeHash(); }

    reset() {
      if (this.search) this.search.value = "";
      for (const select of this.selects) select.value = "";
    }

    show() {
      const words = this.search ? this.search.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
      const chosen = this.selects.map((select) => select.value);
      const counts = this.selects.map(() => new Map());
      const alls = this.selects.map(() => 0);
      let shown = 0;
      const asked = finder ? finder.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
      this.items.forEach((item, i) => {
        const found = words.every((word) => item.text.includes(word))
          && asked.every((word) => item.text.includes(word) || details(item).includes(word));
        const misses = [];
        chosen.forEach((value, f) => { if (value && !this.values[f][i].has(value)) misses.push(f); });
        item.matches = found && misses.length === 0;
        if (item.matches) shown += 1;
        // How many a filter's values would leave, given all the other filters.
        if (found) this.selects.forEach((_, f) => {
          if (misses.length && (misses.length > 1 || misses[0] !== f)) return;
          alls[f] += 1;
          for (const value of this.values[f][i]) counts[f].set(value, (counts[f].get(value) || 0) + 1);
        });
      });
      this.selects.forEach((select, f) => {
        [...select.options].forEach((option, o) => {
          const n = option.value ? counts[f].get(option.value) || 0 : alls[f];
          option.textContent = `${this.labels[f][o]} (${n})`;
        });
      });
      this.fold();
      this.nothing.hidden = shown > 0;
      if (!this.count) return; // nothing to search or filter by
      const all = this.items.length;
      this.count.textContent = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
      const filtered = words.length > 0 || chosen.some(Boolean);
      this.section.querySelector(".controls .reset").hidden = !filtered;
    }

    // Of the rows that match, the first ones are shown; a row that somebody opened stays.
    fold() {
      const most = small.matches ? FOLDED_SMALL : FOLDED;
      const found = this.items.filter((item) => item.matches).sort((a, b) => a.at - b.at);
      const folds = found.length > most + most / 2; // two rows more are not worth a button
      const rest = new Set(this.whole || !folds ? [] : found.slice(most));
      for (const item of this.items) {
        const open = item.element.classList.contains("open");
        item.element.hidden = !item.matches || (rest.has(item) && !open);
      }
      this.more.hidden = !folds;
      this.more.textContent = this.whole ? `Show the first ${most} rows` : `Show all ${found.length} rows`;
    }

    sort() {
      const { index, down } = this.sorted || { index: -1, down: false };
      this.headers.forEach((header, i) => {
        header.setAttribute("aria-sort", i !== index ? "none" : down ? "descending" : "ascending");
      });
      const numeric = index >= 0 && this.headers[index].dataset.kind === "number";
      const key = (item) => {
        const cell = item.cells[index];
        const text = cell.dataset.sort ?? cell.textContent.trim();
        if (text === "") return null;
        if (!numeric) return text;
        // "3/4" of a matrix, "12 ms": the number that it begins with.
        const value = Number.parseFloat(text);
        return Number.isNaN(value) ? null : value;
      };
      const items = [...this.items];
      if (index >= 0) {
        const keys = new Map(items.map((item) => [item, key(item)]));
        items.sort((a, b) => {
          const [x, y] = [keys.get(a), keys.get(b)];
          if (x === null || y === null) return (x === null) - (y === null) || a.order - b.order;
          const difference = numeric ? x - y : natural.compare(x, y);
          return (down ? -difference : difference) || a.order - b.order;
        });
      }
      items.forEach((item, at) => { item.at = at; });
      const parent = this.items.length ? this.items[0].element.parentNode : null;
      if (parent) parent.append(...items.map((item) => item.element));
    }

    save(params) {
      if (this.search && this.search.value) params.set(`${this.id}.q`, this.search.value);
      for (const select of this.selects) {
        if (select.value) params.set(`${this.id}.${select.dataset.key}`, select.value);
      }
      if (this.sorted) {
        const key = this.headers[this.sorted.index].dataset.key;
        params.set(`${this.id}.sort`, (this.sorted.down ? "-" : "") + key);
      }
      if (this.whole) params.set(`${this.id}.rows`, "all");
    }

    load(params) {
      this.reset();
      if (this.search) this.search.value = params.get(`${this.id}.q`) || "";
      for (const select of this.selects) {
        const value = params.get(`${this.id}.${select.dataset.key}`) || "";
        select.value = [...select.options].some((o) => o.value === value) ? value : "";
      }
      const sort = params.get(`${this.id}.sort`) || "";
      const key = sort.replace(/^-/, "");
      const index = this.headers.findIndex((header) => header.dataset.key === key);
      this.sorted = index < 0 ? null : { index, down: sort.startsWith("-") };
      this.whole = params.get(`${this.id}.rows`) === "all";
      this.sort();
      this.show();
    }
  }

  // What a row's details say, opened or not.
  function details(item) {
    if (item.details === undefined) {
      const inert = item.element.querySelector("tr.detail script[type='application/json']");
      const shown = item.element.querySelector("div.detail");
      const text = inert ? JSON.parse(inert.textContent) : shown ? shown.innerHTML : "";
      const page = new DOMParser().parseFromString(text, "text/html");
      item.details = page.body.textContent.toLowerCase();
    }
    return item.details;
  }

  // Details are inert text until somebody looks at them.
  function fill(item) {
    const inert = item.querySelector(":scope > tr.detail script[type='application/json']");
    if (!inert) return;
    item.querySelector("div.detail").innerHTML = JSON.parse(inert.textContent);
    inert.remove();
  }

  function toggle(item, open) {
    const button = item.querySelector("button.toggle");
    if (!button) return;
    if (open) fill(item);
    button.setAttribute("aria-expanded", String(open));
    item.classList.toggle("open", open);
    item.querySelector("tr.detail").hidden = !open;
  }

  function goTo(name) {
    anchor = name;
    const target = name && document.getElementById(name);
    if (!target) return;
    const table = tables.find((t) => t.section.contains(target));
    if (target.matches(".item")) {
      const item = table && table.items.find((one) => one.element === target);
      if (item && !item.matches) {
        table.reset();
        if (finder && finder.value) { finder.value = ""; searchPage(); }
      }
      toggle(target, true);
      if (table) { table.show(); writeHash(); }
      target.hidden = false;
    }
    target.scrollIntoView({ block: "start" });
    const focus = target.querySelector("button.toggle");
    if (focus) focus.focus({ preventScroll: true });
  }

  // One search for all tables of the page, and for what their rows open to.
  const finder = document.querySelector("input.find");
  const foundCount = document.querySelector(".found");
  function searchPage() {
    for (const table of tables) table.show();
    found();
    writeHash();
  }
  function found() {
    if (!finder) return;
    const asked = Boolean(finder.value.trim());
    let rows = 0;
    let places = 0;
    for (const table of tables) {
      const here = table.items.filter((item) => item.matches).length;
      table.section.classList.toggle("empty-handed", asked && here === 0);
      rows += here;
      places += here > 0;
    }
    const words = `${rows} ${rows === 1 ? "row" : "rows"} in ${places} ${places === 1 ? "table" : "tables"}`;
    foundCount.textContent = asked ? words : "";
  }
  function savePage(params) {
    if (finder && finder.value) params.set("q", finder.value);
    for (const table of tables) table.save(params);
  }

  const tables = [...document.querySelectorAll("section[data-table]")]
    .filter((section) => section.querySelector("table.sortable"))
    .map((section) => new DataTable(section));

  if (finder) {
    finder.parentNode.hidden = tables.length < 2; // one table has its own
    finder.addEventListener("input", searchPage);
    finder.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !finder.value) return;
      event.preventDefault();
      finder.value = "";
      searchPage();
    });
  }
  small.addEventListener("change", () => { for (const table of tables) table.fold(); });
  // Paper has no buttons.
  addEventListener("beforeprint", () => {
    for (const table of tables) for (const item of table.items) item.element.hidden = !item.matches;
  });
  addEventListener("afterprint", () => { for (const table of tables) table.fold(); });

  function load() {
    const { anchor: name, params } = readHash();
    if (finder) finder.value = params.get("q") || "";
    for (const table of tables) table.load(params);
    found();
    goTo(name);
  }
  addEventListener("hashchange", load);

  document.addEventListener("click", (event) => {
    // A link inside of the page keeps how its tables are filtered and sorted.
    const link = event.target.closest("a[href^='#']");
    // One that says how they are to be filtered is a new state: hashchange brings it about.
    if (!link || link.getAttribute("href").includes("?") || event.ctrlKey || event.metaKey || event.shiftKey || link.matches(".skip")) return;
    event.preventDefault();
    goTo(decodeURIComponent(link.getAttribute("href").slice(1)));
    const params = new URLSearchParams();
    savePage(params);
    const state = params.toString();
    history.pushState(null, "", "#" + encodeURIComponent(anchor) + (state ? "?" + state : ""));
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const inputs = [...document.querySelectorAll("input[type=search]")];
    const first = inputs.find((input) => input.checkVisibility());
    if (first) { event.preventDefault(); first.focus(); first.select(); }
  });

  const THEMES = ["as the system", "light", "dark"];
  const button = document.querySelector("button.theme");
  function theme(name) {
    if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    button.title = `Colours: ${name}`;
    button.setAttribute("aria-label", button.title);
    button.dataset.now = name;
  }
  let kept = null;
  try { kept = localStorage.getItem("fibcore-theme"); } catch { /* no storage: as the system */ }
  theme(THEMES.includes(kept) ? kept : THEMES[0]);
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(button.dataset.now) + 1) % THEMES.length];
    theme(next);
    try { localStorage.setItem("fibcore-theme", next); } catch { /* it holds for this visit */ }
  });

  load();
  // The browser itself goes to the anchor once the page is there, and takes the focus away.
  addEventListener("load", () => setTimeout(() => {
    goTo(anchor);
    document.documentElement.dataset.ready = "true";
  }));
})();
