"use strict";
const root = document.documentElement, byId = id => document.getElementById(id);
const themeButton = byId("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { themeButton.textContent = isDark() ? "Light colours" : "Dark colours"; };
themeButton.hidden = false;
themeButton.onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); };
dark.addEventListener("change", nameTheme);
nameTheme();
if (!matchMedia("(min-width: 70rem)").matches) document.querySelector("#contents details").open = false;
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
if (byId("verdict-table")) {
  const rows = [...byId("verdict-table").tBodies[0].rows], box = byId("filters");
  const shown = Object.assign(document.createElement("output"), { id: "shown" });
  const choice = (label, values) => {
    const select = document.createElement("select"), name = document.createElement("label");
    select.append(new Option("all", ""), ...[...new Set(values)].map(v => new Option(v, v)));
    select.onchange = apply;
    name.append(label + " ", select);
    box.append(name);
    return select;
  };
  const apply = () => {
    rows.forEach(r => { r.hidden = (paper.value && r.dataset.paper !== paper.value)
      || (verdict.value && !r.dataset.verdicts.split("|").includes(verdict.value)); });
    shown.textContent = rows.filter(r => !r.hidden).length + " of " + rows.length + " claims shown";
  };
  const paper = choice("Paper", rows.map(r => r.dataset.paper));
  const verdict = choice("Verdict", rows.flatMap(r => r.dataset.verdicts.split("|")).filter(Boolean));
  box.append(shown);
  box.hidden = false;
  apply();
}
const links = [...document.querySelectorAll("#contents a")], places = links.map(a => byId(decodeURIComponent(a.hash.slice(1))));
let current = null;
const follow = () => {
  const ended = scrollY + innerHeight >= root.scrollHeight - 2;  // the last part may be too short to reach the top
  const link = ended ? links.at(-1) : links[places.findLastIndex(p => p.getBoundingClientRect().top < innerHeight / 4)];
  if (link === current) return;
  if (current) current.removeAttribute("aria-current");
  if (link) link.setAttribute("aria-current", "location");
  current = link;
  const box = byId("contents"), top = link ? link.offsetTop - box.clientHeight / 2 : 0;
  if (box.scrollHeight > box.clientHeight) box.scrollTop = top;
};
addEventListener("scroll", () => requestAnimationFrame(follow), { passive: true });
follow();
const save = async link => {
  const packed = Uint8Array.from(atob(link.href.split("base64,")[1]), c => c.charCodeAt(0));
  const blob = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();
  const plain = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: link.download.replace(/\.gz$/, "") });
  plain.click();
  setTimeout(() => URL.revokeObjectURL(plain.href), 1000);
};
if (window.DecompressionStream) document.querySelectorAll('a[download$=".gz"]').forEach(link => {
  link.onclick = event => { event.preventDefault(); save(link); };
});
