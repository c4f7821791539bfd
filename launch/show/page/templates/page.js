"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);

// Charts: the figures come whole from the page's data; the switch chooses their x.

const LAYOUT = {
  margin: {l: 55, r: 15, t: 34, b: 40}, font: {family: "system-ui, sans-serif", size: 12}, hovermode: "closest",
  legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom"}, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
};
const NOTHING = {text: "not measured yet", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5};

function drawChart(chart) {
  const axis = document.querySelector("input[name=axis]:checked").value;
  const swapped = axis === "minutes" && chart.minutes;
  const data = chart.data.map((trace, i) => ({...trace, ...(swapped ? chart.minutes[i] : {})}));
  const xaxis = {gridcolor: "#e2e5ea", ...(chart.minutes ? {title: {text: axis}, rangemode: "tozero"} : {}),
                 ...chart.layout.xaxis};
  const yaxis = {gridcolor: "#e2e5ea", ...chart.layout.yaxis};
  const annotations = data.length ? [] : [NOTHING];
  Plotly.react("chart-" + chart.id, data, {...LAYOUT, ...chart.layout, xaxis, yaxis, annotations},
               {displayModeBar: false, responsive: true});
}

async function drawCharts() {
  for (const chart of page.charts) {
    drawChart(chart);
    await new Promise(done => setTimeout(done));  // the page can be used meanwhile
  }
}

document.querySelectorAll("input[name=axis]").forEach(input => input.addEventListener("change", drawCharts));
drawCharts();

// Episodes: all are in memory, a screen of them is in the document.

const ON_SCREEN = 50;
const table = {order: [], first: 0, key: "episode", sign: 1};
const WORDS = new Map([[true, "yes"], [false, "no"], [null, "unknown"]]);

function shownValue(key, value) {
  return key === "success" ? WORDS.get(value) : value === null ? "unknown" : String(value);
}

function isKept(columns, row) {
  const filters = [...document.querySelectorAll("[data-filter]")].every(
    input => !input.value || shownValue(input.dataset.filter, columns[input.dataset.filter][row]) === input.value);
  const least = [...document.querySelectorAll("[data-least]")].every(
    input => input.value === "" || columns[input.dataset.least][row] >= Number(input.value));
  const most = [...document.querySelectorAll("[data-most]")].every(
    input => input.value === "" || columns[input.dataset.most][row] <= Number(input.value));
  return filters && least && most;
}

function arrange() {
  const columns = page.episodes.columns, values = columns[table.key];
  const compare = (a, b) => values[a] === values[b] ? a - b : values[a] === null ? 1 : values[b] === null ? -1
    : table.sign * (values[a] < values[b] ? -1 : 1);
  table.order = columns.episode.map((_, row) => row).filter(row => isKept(columns, row)).sort(compare);
  table.first = 0;
  showRows();
}

function cell(row, content) {
  row.insertCell().append(content);
}

function element(name, text, attributes = {}) {
  return Object.assign(document.createElement(name), {textContent: text}, attributes);
}

function showRows() {
  const {columns, films, command} = page.episodes, body = byId("rows");
  const end = Math.min(table.first + ON_SCREEN, table.order.length);
  body.replaceChildren();
  for (const index of table.order.slice(table.first, end)) {
    const row = body.insertRow(), episode = columns.episode[index], film = films[episode];
    for (const key of ["episode", "success", "frames", "return", "version", "actor"])
      cell(row, shownValue(key, columns[key][index]));
    cell(row, element("code", `${command} ${episode}`));
    cell(row, film ? element("a", "film", {href: "videos/" + encodeURIComponent(film)}) : "");
  }
  const total = columns.episode.length, kept = table.order.length;
  byId("shown").textContent = kept ? `${table.first + 1} to ${end} of ${kept}` + (kept < total ? `, ${total} in all` : "")
    : `none of ${total}`;
  byId("before").disabled = table.first === 0;
  byId("after").disabled = end >= table.order.length;
}

function turn(rows) {
  table.first += rows;
  showRows();
}

function showEpisodes() {
  const actors = document.querySelector("[data-filter=actor]"), chosen = actors.value;
  const names = [...new Set(page.episodes.columns.actor.map(name => shownValue("actor", name)))].sort();
  actors.replaceChildren(element("option", "all", {value: ""}), ...names.map(name => element("option", name)));
  actors.value = names.includes(chosen) ? chosen : "";
  byId("episodes-note").textContent = page.episodes.note;
  byId("episodes").classList.toggle("no-films", Object.keys(page.episodes.films).length === 0);
  const first = table.first;
  arrange();
  if (first < table.order.length) turn(first);
}

if (page.episodes) {
  document.querySelectorAll("th.sorts").forEach(head => head.addEventListener("click", () => {
    table.sign = table.key === head.dataset.key ? -table.sign : 1;
    table.key = head.dataset.key;
    arrange();
  }));
  document.querySelectorAll(".filters input, .filters select").forEach(
    input => input.addEventListener("input", arrange));
  byId("before").addEventListener("click", () => turn(-ON_SCREEN));
  byId("after").addEventListener("click", () => turn(ON_SCREEN));
  showEpisodes();
}

// Live: asks for what is new, and only while somebody looks.

const EVERY_MS = 2000, EPISODES_EVERY_MS = 10000;
let stamp = "", episodesAt = 0, episodesDue = false, answeredAt = Date.now();

async function refresh() {
  const answer = await fetch(`data?stamp=${encodeURIComponent(stamp)}`);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  answeredAt = Date.now();
  if (answer.status !== 204) show(await answer.json());
  if (page.episodes && episodesDue && Date.now() - episodesAt > EPISODES_EVERY_MS) {
    episodesAt = Date.now();
    episodesDue = false;
    page.episodes = await (await fetch("episodes")).json();
    showEpisodes();
  }
}

// An actor's stream ends with the actor; a picture that is shown goes on by itself.
async function showPictures() {
  const names = await (await fetch("live")).json(), box = byId("live");
  if (names.join() === [...box.children].map(figure => figure.dataset.name).join()) return;
  box.replaceChildren(...names.map(name => {
    const figure = element("figure", "");
    figure.dataset.name = name;
    figure.append(element("img", "", {src: "live/" + encodeURIComponent(name), alt: `what ${name} does`}),
                  element("figcaption", name));
    return figure;
  }));
}

function show(fresh) {
  stamp = fresh.stamp;
  episodesDue = true;
  page.charts = fresh.charts;
  byId("top").innerHTML = fresh.top;
  byId("bottom").innerHTML = fresh.bottom;
  drawCharts();
}

async function keepFresh() {
  if (!document.hidden) {
    const news = byId("news");
    try {
      await refresh();
      await showPictures();
      news.hidden = true;
    } catch (error) {
      news.textContent = `no answer from this page's server for ${Math.round((Date.now() - answeredAt) / 1000)} s`;
      news.hidden = false;
    }
  }
  setTimeout(keepFresh, EVERY_MS);
}

if (page.live) keepFresh();
