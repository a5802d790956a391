"use strict";
const root = document.documentElement, byId = id => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const main = byId("main"), chapters = [...main.children], pageTitle = document.title;
root.classList.add("js");

// Colours
const themeButton = byId("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { themeButton.textContent = isDark() ? "Light colours" : "Dark colours"; };
themeButton.hidden = byId("keys").hidden = false;
themeButton.onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); };
dark.addEventListener("change", nameTheme);
nameTheme();

// The verdict table, filtered by paper and verdict
const table = byId("verdict-table"), filter = {};
const setFilter = () => {
  const rows = all("tr[data-paper]", table);
  rows.forEach(r => { r.hidden = ["paper", "verdict"].some(name => filter[name].value && r.dataset[name] !== filter[name].value); });
  all("tbody", table).forEach(body => { body.hidden = !body.querySelector("tr[data-paper]:not([hidden])"); });
  byId("shown").textContent = rows.filter(r => !r.hidden).length + " of " + rows.length + " claims shown";
};
if (table) {
  for (const name of ["paper", "verdict"]) {
    const select = filter[name] = document.createElement("select"), label = document.createElement("label");
    const values = all("tr[data-paper]", table).map(r => r.dataset[name]);
    select.append(new Option("all", ""), ...[...new Set(values)].map(v => new Option(v, v)));
    select.onchange = setFilter;
    label.append(name[0].toUpperCase() + name.slice(1) + " ", select);
    byId("filters").append(label);
  }
  byId("filters").append(Object.assign(document.createElement("output"), { id: "shown" }));
  byId("filters").hidden = false;
  setFilter();
}

// A chapter at a time. A route is "#" and an id; "#verdicts:PAPER:VERDICT" filters the table.
let current = null;
const open = (chapter, target) => {
  chapters.forEach(c => c.classList.toggle("current", c === chapter));
  root.dataset.chapter = chapter.id;
  current = chapter;
  const title = chapter.querySelector("h1, h2").textContent.trim();
  document.title = chapter === chapters[0] ? pageTitle : title + " · " + pageTitle;
  all("#contents > ul > li").forEach(item => item.classList.toggle("here", item.firstElementChild.hash === "#" + chapter.id));
  for (let d = target.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
  if (target.matches("tr")) all("details", target).forEach(d => { d.open = true; });
};
const focusOn = element => {
  if (!element.hasAttribute("tabindex") && !element.matches("a, button, select, summary")) element.tabIndex = -1;
  element.focus({ preventScroll: true });
};
const route = (place, first) => {
  const [id, paper, verdict] = decodeURIComponent(location.hash.slice(1)).split(":");
  const target = byId(id) || chapters[0], chapter = target.closest("main > section");
  if (!chapter && current && target.id !== "main") {  // the contents, the top
    target.scrollIntoView();
    if (target.id === "contents") focusOn(target);
    return;
  }
  if (table && (paper || target.hidden || target.closest("[hidden]"))) {
    Object.assign(filter.paper, { value: paper || "" });
    Object.assign(filter.verdict, { value: verdict || "" });
    setFilter();
  }
  open(chapter || current || chapters[0], target);
  if (place !== undefined) scrollTo(0, place);
  else if (target === chapter || !chapter) scrollTo(0, 0);
  else target.scrollIntoView();
  if (!first || id) focusOn(target === chapter ? chapter.querySelector("h1, h2") : target);
  follow();
};
const keepPlace = () => history.replaceState({ place: scrollY }, "");
const go = hash => { keepPlace(); history.pushState(null, "", hash); route(); };
addEventListener("popstate", event => route(event.state?.place));
addEventListener("click", event => {
  const link = event.target.closest('a[href^="#"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go("#" + (link.dataset.route || link.hash.slice(1)));
});
addEventListener("keydown", event => {
  const way = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  if (!way || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest('input, select, textarea, [contenteditable], [tabindex="0"]')) return;  // they scroll or type
  const link = current.querySelector(`.turn [rel=${way}]`);
  if (link) { event.preventDefault(); go(link.hash); }
});

// The contents show where one is
const marked = (link, yes) => link && (yes ? link.setAttribute("aria-current", "location") : link.removeAttribute("aria-current"));
let here = null;
const follow = () => {
  const links = all("#contents .here a"), places = links.map(link => byId(decodeURIComponent(link.hash.slice(1))));
  const link = links[places.findLastIndex(p => p.getBoundingClientRect().top < innerHeight / 4)] || links[0];
  if (link === here) return;
  marked(here, false);
  marked(here = link, true);
  const box = byId("contents");
  if (link && box.scrollHeight > box.clientHeight) box.scrollTop = link.offsetTop - box.clientHeight / 2;
};
let resting = 0;
addEventListener("scroll", () => {
  requestAnimationFrame(follow);
  clearTimeout(resting);
  resting = setTimeout(keepPlace, 200);
}, { passive: true });
history.scrollRestoration = "manual";

// Code gets its colours when it is opened
const KINDS = /(#[^\n]*)|([rbf]{0,2}"""[\s\S]*?"""|[rbf]{0,2}"(?:\\.|[^"\\\n])*"|[rbf]{0,2}'(?:\\.|[^'\\\n])*')|\b(and|as|assert|async|await|break|class|continue|def|del|elif|else|except|False|finally|for|from|global|if|import|in|is|lambda|None|nonlocal|not|or|pass|raise|return|True|try|while|with|yield)\b|\b(\d[\d_]*\.?\d*(?:e-?\d+)?)\b/g;
const colour = pre => {
  const parts = [], text = pre.textContent;
  let end = 0;
  for (const found of text.matchAll(KINDS)) {
    const kind = ["c", "s", "k", "m"].find((_, index) => found[index + 1] !== undefined);
    parts.push(text.slice(end, found.index), Object.assign(document.createElement("span"), { className: kind, textContent: found[0] }));
    end = found.index + found[0].length;
  }
  pre.replaceChildren(...parts, text.slice(end));
};
all("details.code").forEach(d => d.addEventListener("toggle", () => { if (d.open) colour(d.querySelector("pre")); }, { once: true }));
addEventListener("beforeprint", () => all("details").forEach(d => { d.open = true; }));

// A figure's data are packed a line a column: a reader gets a CSV
const turned = text => {  // cells with a comma or a quote stand in quotes
  const lines = [[]];
  for (const [, cell, end] of text.matchAll(/("(?:[^"]|"")*"|[^,\n]*)(,|\n|$)/g)) {
    lines.at(-1).push(cell);
    if (end === "\n") lines.push([]);
    if (!end) break;
  }
  const columns = lines.filter(line => line.length > 1 || line[0]);
  return columns[0].map((_, row) => columns.map(column => column[row]).join(",")).join("\n") + "\n";
};
const offer = (text, name) => {
  const plain = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  plain.click();
  setTimeout(() => URL.revokeObjectURL(plain.href), 1000);
};
const save = async link => {
  const packed = Uint8Array.from(atob(link.href.split("base64,")[1]), c => c.charCodeAt(0));
  const text = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  offer(turned(text), link.download.replace(/\.gz$/, ""));
};
if (window.DecompressionStream) all('a[download$=".gz"]').forEach(link => {
  link.onclick = event => { event.preventDefault(); save(link); };
});
const quoted = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
all(".result[id]").forEach(box => {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "csv", textContent: "data (CSV)" });
  button.onclick = () => offer(all("tr", box).map(row => [...row.cells].map(cell => quoted(cell.textContent)).join(",")).join("\n") + "\n", box.id + ".csv");
  box.append(button);
});
route(history.state?.place, true);
