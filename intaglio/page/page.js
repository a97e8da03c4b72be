// The page shows what `data` holds, and asks for nothing else. Names are strangers': they go into text nodes only.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("view"), details = document.getElementById("details");
const programs = Object.keys(data.programs), models = Object.keys(data.models);
const dark = matchMedia("(prefers-color-scheme: dark)");

// elements

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const link = (text, go) => el("button", { class: "link", onclick: go }, text);
const show = (where, ...children) => where.replaceChildren(...children.filter((child) => child !== null));

function table(head, rows, numbers = []) {
  const cell = (tag, content, i) => el(tag, numbers.includes(i) ? { class: "number" } : {}, content ?? "");
  const line = ({ cells, go, chosen }) => {
    const open = go ? { tabindex: 0, onclick: go, onkeydown: (e) => e.key === "Enter" && go() } : {};
    return el("tr", { ...open, class: chosen ? "chosen" : null }, ...cells.map((c, i) => cell("td", c, i)));
  };
  return el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h, i) => cell("th", h, i)))),
    el("tbody", {}, ...rows.map(line)));
}

function choice(options, chosen, change) {
  const select = el("select", { onchange: () => change(select.value) },
    ...options.map(([value, text]) => el("option", { value, selected: value === chosen ? "" : null }, text)));
  return select;
}

// numbers

function scaled(number, units, base = 1000) {
  let i = 0;
  while (number >= base && i < units.length - 1) { number /= base; i++; }
  return `${Number(number.toPrecision(3))} ${units[i]}`;
}
const bytes = (n) => scaled(n, ["B", "kB", "MB", "GB"]);
const count = (n, unit) => scaled(n, ["", "k", "M", "G", "T"].map((prefix) => prefix + unit));
const time = (s) => scaled(s * 1e9, ["ns", "µs", "ms", "s"]);
const percent = (part) => `${Number((100 * part).toPrecision(3))} %`;
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const hue = (i) => (i * 137.508) % 360;
const colour = (i) => `hsl(${hue(i)} ${dark.matches ? "38% 36%" : "58% 78%"})`;
const roofline = (step) => Math.max(step.flops / data.profile.flops, step.bytes / data.profile.bytes);

// what became of what: ONNX node -> operation of a program -> steps

const kernelIndex = new Map(Object.keys(data.kernels).map((name, i) => [name, i]));
const uses = new Map(Object.keys(data.kernels).map((name) => [name, []]));
const operations = (program) => data.programs[program].graph.nodes.slice(data.programs[program].graph.first);
const stepsOf = (program, operation) =>
  data.programs[program].steps.flatMap((step, i) => (step.operation === operation ? [i] : []));
const fused = {}; // program -> model, node -> operation
for (const program of programs) {
  fused[program] = new Map();
  operations(program).forEach((o, i) => (o.nodes ?? []).forEach((name) => fused[program].set(`${o.model}\n${name}`, i)));
  data.programs[program].steps.forEach((step, i) => uses.get(step.kernel).push([program, i]));
}
const operationOf = (program, node) => fused[program]?.get(`${node.model}\n${node.nodes?.[0]}`);
const share = (program, model) => operations(program).filter((o) => o.model === model).length;
const readersOf = (model) => programs.filter((p) => share(p, model)).sort((a, b) => share(b, model) - share(a, model));

// WGSL

const WORDS = new RegExp([
  "(?<comment>//[^\\n]*)", "(?<attribute>@\\w+)",
  "(?<keyword>\\b(?:fn|let|var|const|if|else|for|while|loop|return|break|continue|switch|case|default|struct|alias|true|false|storage|uniform|workgroup|read|write|read_write)\\b)",
  "(?<type>\\b(?:u32|i32|f32|f16|bool|vec[234][fhiu]?|mat\\dx\\d[fh]?|array|ptr|atomic|texture_\\w+|rgba32float|Number)\\b)",
  "(?<literal>\\b(?:0x[\\da-fA-F]+|\\d+(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)[fhiu]?\\b)", "(?<function>\\b[A-Za-z_]\\w*(?=\\())",
].join("|"), "g");

function highlighted(code) {
  const pre = el("pre", { class: "wgsl" });
  let end = 0;
  for (const match of code.matchAll(WORDS)) {
    const kind = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
    pre.append(code.slice(end, match.index), el("span", { class: kind }, match[0]));
    end = match.index + match[0].length;
  }
  pre.append(code.slice(end));
  return pre;
}

// details

function shader(name) {
  const kernel = data.kernels[name], edited = data.edited.includes(kernel.file);
  return [el("h3", {}, kernel.file, edited ? el("span", { class: "edited" }, " edited after it was compiled") : ""),
    highlighted(kernel.wgsl)];
}

function costs(step) {
  const rows = [["operations", count(step.flops, "FLOP")], ["bytes moved", bytes(step.bytes)]];
  if (step.seconds !== null) {
    const s = Math.max(step.seconds, 1e-12);
    rows.push(["time", time(step.seconds)], ["reached", `${count(step.flops / s, "FLOP/s")}, ${bytes(step.bytes / s)}/s`],
      ["of the roofline", el("span", {}, meter(roofline(step) / s), ` ${percent(roofline(step) / s)}`)]);
  }
  return table(["", ""], rows.map((cells) => ({ cells })));
}
function meter(part) {
  const bar = el("i");
  bar.style.width = `${100 * Math.min(1, part)}%`;
  return el("span", { class: "meter" }, bar);
}

function showStep(program, i) {
  const step = data.programs[program].steps[i], operation = operations(program)[step.operation];
  state.step = [program, i];
  for (const button of view.querySelectorAll(".dispatch"))
    button.classList.toggle("chosen", button.dataset.program === program && Number(button.dataset.step) === i);
  show(details,
    el("h2", {}, `${program} ${i}: ${step.kernel}`),
    el("p", {}, `${operation.op}, ${step.grid.join(" × ")} workgroups. `,
      link("Show in the graph", () => openGraph(`program ${program}`, data.programs[program].graph.first + step.operation))),
    costs(step),
    el("h3", {}, "ONNX nodes"), nodeLinks(operation),
    el("h3", {}, "Bindings"),
    table(["", "", ""], step.operands.map((o) => ({ cells: [o.writes ? "writes" : "reads", o.name, el("div", {},
      `${o.type} in ${data.buffers[o.buffer].kind} ${o.buffer}`,
      [o.texture ? ", a texture" : "", o.layout ? `, ${o.layout}` : "", o.offset ? `, from element ${o.offset} on` : ""].join(""),
      el("div", { class: "mono name" }, o.value), o.origin ? el("div", { class: "mono name quiet" }, `is ${o.origin}`) : ""),
    ] }))),
    ...shader(step.kernel));
  details.scrollTop = 0;
}

function nodeLinks(operation) {
  const names = operation.nodes ?? [];
  if (!names.length) return el("p", { class: "quiet" }, "none: it is the compiler's own");
  return el("div", {}, ...[...new Set(names)].map((name) => {
    const model = data.models[operation.model];
    const at = model ? model.nodes.findIndex((n) => n.nodes?.includes(name)) : -1;
    return el("div", { class: "mono" }, at < 0 ? name : link(name, () => openGraph(`model ${operation.model}`, at)));
  }));
}

function stepLinks(program, operation) {
  const steps = stepsOf(program, operation);
  return steps.length ? el("div", {}, ...steps.map((i) => el("div", {}, link(
    `${program} ${i}: ${data.programs[program].steps[i].kernel}`, () => showStep(program, i)))))
    : el("p", { class: "quiet" }, `${program}: no dispatch; another's memory is seen as this`);
}

function showNode(key, i) {
  const graph = graphs[key], node = graph.drawn.nodes[i];
  const typed = (name) => el("div", { class: "mono" }, name, graph.drawn.types[name] ? `: ${graph.drawn.types[name]}` : "");
  const into = graph.program ? [stepLinks(graph.program, i - graph.drawn.first)] : readersOf(graph.model).map((program) => {
    const operation = operationOf(program, node);
    return operation === undefined ? el("p", { class: "quiet" }, `${program}: folded away, or not needed`)
      : stepLinks(program, operation);
  });
  show(details,
    el("h2", {}, node.op, " ", el("span", { class: "quiet" }, node.name)),
    node.attrs ? el("p", { class: "mono" }, node.attrs) : null,
    ...(node.reads ? [el("h3", {}, "reads"), ...node.reads.map((name) => typed(name || "nothing")),
      el("h3", {}, "makes"), ...node.makes.map(typed), el("h3", {}, "runs as"), ...into] : [typed(node.name)]),
    ...(graph.program && node.nodes ? [el("h3", {}, "ONNX nodes"), nodeLinks(node)] : []));
  details.scrollTop = 0;
}

function showKernel(name) {
  show(details, el("h2", {}, name), el("h3", {}, `used ${uses.get(name).length} times`),
    el("div", {}, ...uses.get(name).map(([program, i]) => el("div", {}, link(`${program} ${i}`, () => showStep(program, i))))),
    ...shader(name));
  details.scrollTop = 0;
}

function showWeight(weight) {
  show(details, el("h2", {}, weight.name), table(["", ""], [["type", weight.type], ["layout", weight.layout],
    ["bytes", bytes(weight.bytes)], ["file", weight.file], ["buffer", weight.buffer]].map((cells) => ({ cells }))),
  el("h3", {}, "read by"), el("div", {}, ...weight.readers.map(([program, i]) => el("div", {},
    link(`${program} ${i}: ${data.programs[program].steps[i].kernel}`, () => showStep(program, i))))));
  details.scrollTop = 0;
}

// the graph: on a canvas, of which only what is seen is drawn

const HEIGHT = 40;
const graphs = {};
for (const model of models) graphs[`model ${model}`] = { drawn: data.models[model], model, title: `${model}, as it was exported` };
for (const program of programs) graphs[`program ${program}`] = { drawn: data.programs[program].graph, program, title: `${program}, after the passes` };

const state = { tab: "Overview", graph: Object.keys(graphs)[0], colours: null, chosen: null, widths: data.profile ? "seconds" : "equal",
  memory: programs[0], step: null, look: {} };
let canvas = null;

function group(node, i) { // the operation that a node of the graph shown belongs to
  const graph = graphs[state.graph];
  if (!node.reads) return undefined;
  return graph.program ? i - graph.drawn.first : operationOf(state.colours, node);
}
const elsewhere = (node) => node.reads && programs.some((p) => operationOf(p, node) !== undefined);

function draw() {
  if (!canvas) return;
  const begin = performance.now(), { drawn } = graphs[state.graph], look = state.look[state.graph];
  const ratio = devicePixelRatio, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== width * ratio || canvas.height !== height * ratio) [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const c = canvas.getContext("2d"), style = getComputedStyle(document.body), ink = style.color;
  const quiet = style.getPropertyValue("--quiet"), raised = style.getPropertyValue("--raised"), line = style.getPropertyValue("--line"), accent = style.getPropertyValue("--accent");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  c.setTransform(ratio * look.scale, 0, 0, ratio * look.scale, ratio * look.x, ratio * look.y);
  const left = -look.x / look.scale, top = -look.y / look.scale, right = left + width / look.scale, bottom = top + height / look.scale;
  const chosen = state.chosen, chosenGroup = chosen === null ? undefined : group(drawn.nodes[chosen], chosen);
  for (const [a, b, , path] of drawn.edges) {
    const from = drawn.nodes[a], to = drawn.nodes[b], near = a === chosen || b === chosen;
    if (from.y > bottom || to.y < top) continue;
    c.strokeStyle = near ? accent : quiet;
    c.globalAlpha = near ? 1 : 0.5;
    c.lineWidth = near ? 2 : 1;
    c.beginPath();
    if (path || near) {
      const points = [[from.x, from.y + HEIGHT / 2], ...(path ?? []), [to.x, to.y - HEIGHT / 2]];
      c.moveTo(...points[0]);
      for (let i = 1; i < points.length; i++) {
        const [x0, y0] = points[i - 1], [x1, y1] = points[i], middle = (y0 + y1) / 2;
        c.bezierCurveTo(x0, middle, x1, middle, x1, y1);
      }
    } else { // it is far: only its ends
      c.moveTo(from.x, from.y + HEIGHT / 2);
      c.lineTo(from.x, from.y + HEIGHT / 2 + 10);
      c.moveTo(to.x, to.y - HEIGHT / 2 - 10);
      c.lineTo(to.x, to.y - HEIGHT / 2);
    }
    c.stroke();
  }
  c.globalAlpha = 1;
  c.textAlign = "center";
  drawn.nodes.forEach((node, i) => {
    if (node.y + HEIGHT < top || node.y - HEIGHT > bottom || node.x + node.w < left || node.x - node.w > right) return;
    const g = group(node, i), x = node.x - node.w / 2, y = node.y - HEIGHT / 2;
    c.fillStyle = g !== undefined ? colour(g) : elsewhere(node) ? raised : line;
    c.beginPath();
    c.roundRect(x, y, node.w, HEIGHT, node.reads ? 5 : HEIGHT / 2);
    c.fill();
    if (i === chosen || (g !== undefined && g === chosenGroup)) {
      c.strokeStyle = ink;
      c.lineWidth = i === chosen ? 3 : 1.5;
      c.stroke();
    }
    if (look.scale < 0.3) return;
    c.fillStyle = ink;
    c.font = "600 12px system-ui, sans-serif";
    c.fillText(node.op, node.x, node.y - 2);
    if (look.scale < 0.5) return;
    c.font = "10px system-ui, sans-serif";
    c.fillText(node.name.length > 28 ? `…${node.name.slice(-27)}` : node.name, node.x, node.y + 12);
  });
  canvas.dataset.milliseconds = (performance.now() - begin).toFixed(1);
}

function look(key) { // where the graph was left, or else its beginning
  if (!state.look[key]) {
    const nodes = graphs[key].drawn.nodes, x = nodes.length ? sum(nodes.slice(0, 8).map((n) => n.x)) / Math.min(8, nodes.length) : 0;
    state.look[key] = { scale: 0.9, x: (canvas?.clientWidth ?? 800) / 2 - 0.9 * x, y: 40 };
  }
  return state.look[key];
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const at = look(state.graph), scale = Math.min(3, Math.max(0.005, at.scale * factor)), ratio = scale / at.scale;
  state.look[state.graph] = { scale, x: x - (x - at.x) * ratio, y: y - (y - at.y) * ratio };
  requestAnimationFrame(draw);
}

function fit() {
  const nodes = graphs[state.graph].drawn.nodes;
  if (!nodes.length) return;
  const xs = nodes.flatMap((n) => [n.x - n.w / 2, n.x + n.w / 2]), ys = nodes.map((n) => n.y);
  const [left, right] = [Math.min(...xs), Math.max(...xs)], [top, bottom] = [Math.min(...ys) - HEIGHT, Math.max(...ys) + HEIGHT];
  const scale = Math.min(canvas.clientWidth / (right - left + 80), canvas.clientHeight / (bottom - top), 2);
  state.look[state.graph] = { scale, x: canvas.clientWidth / 2 - scale * (left + right) / 2, y: -scale * top };
  draw();
}

function centre(i) {
  const node = graphs[state.graph].drawn.nodes[i], scale = Math.max(look(state.graph).scale, 0.8);
  state.look[state.graph] = { scale, x: canvas.clientWidth / 2 - scale * node.x, y: canvas.clientHeight / 2 - scale * node.y };
}

function openGraph(key, i) {
  const node = graphs[key].drawn.nodes[i];
  state.graph = key;
  state.chosen = i;
  const able = graphs[key].model ? readersOf(graphs[key].model).filter((p) => operationOf(p, node) !== undefined) : [];
  if (able.length && !able.includes(state.colours)) [state.colours] = able;
  open("Graph");
  centre(i);
  draw();
  showNode(key, i);
}

function graphView() {
  const graph = graphs[state.graph];
  if (graph.model && !readersOf(graph.model).includes(state.colours)) [state.colours] = readersOf(graph.model);
  canvas = el("canvas", { "aria-label": graph.title });
  show(view, el("div", { class: "bar" },
    choice(Object.entries(graphs).map(([key, g]) => [key, g.title]), state.graph, (key) => { state.graph = key; state.chosen = null; open("Graph"); }),
    graph.model ? el("label", {}, "coloured by the dispatches of ", choice(readersOf(graph.model).map((p) => [p, p]), state.colours,
      (p) => { state.colours = p; draw(); })) : null,
    el("button", { onclick: fit }, "Fit"), el("button", { onclick: () => zoom(1.4), "aria-label": "zoom in" }, "+"),
    el("button", { onclick: () => zoom(1 / 1.4), "aria-label": "zoom out" }, "−"),
    el("span", { class: "quiet" }, `${graph.drawn.nodes.length} nodes. Equal colours are one operation${graph.model ? "; grey nodes are folded away, pale ones run in another program" : ""}.`)), canvas);
  look(state.graph);
  let drag = null;
  fill(canvas, {
    onpointerdown: (e) => { drag = { x: e.clientX, y: e.clientY, at: { ...look(state.graph) }, moved: false }; canvas.setPointerCapture(e.pointerId); },
    onpointermove: (e) => {
      if (!drag) return;
      drag.moved ||= Math.hypot(e.clientX - drag.x, e.clientY - drag.y) > 4;
      state.look[state.graph] = { ...drag.at, x: drag.at.x + e.clientX - drag.x, y: drag.at.y + e.clientY - drag.y };
      requestAnimationFrame(draw);
    },
    onpointerup: (e) => { if (drag && !drag.moved) pick(e.offsetX, e.offsetY); drag = null; },
    onwheel: (e) => { e.preventDefault(); zoom(Math.exp(-e.deltaY * 0.0015), e.offsetX, e.offsetY); },
  }, []);
  new ResizeObserver(draw).observe(canvas);
  draw();
}

function pick(x, y) {
  const at = look(state.graph), px = (x - at.x) / at.scale, py = (y - at.y) / at.scale;
  const found = graphs[state.graph].drawn.nodes.findIndex((n) => Math.abs(n.x - px) < n.w / 2 && Math.abs(n.y - py) < HEIGHT / 2);
  state.chosen = found < 0 ? null : found;
  draw();
  if (found >= 0) showNode(state.graph, found);
}

// the other views

function overview() {
  const total = sum(Object.values(data.memory));
  show(view,
    el("h2", {}, `${data.kind}, ${data.precision}`),
    el("p", {}, Object.entries(data.symbols).map(([name, [low, high]]) => `${name} ${low} to ${high}`).join(", ") || "all sizes are fixed"),
    data.edited.length ? el("p", { class: "edited" }, `edited after it was compiled: ${data.edited.join(", ")}`) : null,
    data.profile ? el("p", {}, `measured on ${data.profile.adapter} by ${data.profile.method}; plain kernels reach ${count(data.profile.flops, "FLOP/s")} and ${bytes(data.profile.bytes)}/s there`)
      : el("p", { class: "quiet" }, "No profile was recorded: intaglio bench BUNDLE --save FILE, then inspect --html PAGE --profile FILE"),
    el("h2", {}, "Programs"),
    table(["program", "dispatches", "operations", "bytes moved", "time", "at"], programs.map((name) => {
      const p = data.programs[name];
      return { cells: [name, p.steps.length, count(sum(p.steps.map((s) => s.flops)), "FLOP"), bytes(sum(p.steps.map((s) => s.bytes))),
        p.seconds === null ? "" : time(p.seconds), Object.entries(p.symbols).map(([s, v]) => `${s}=${v}`).join(" ")],
      go: () => open("Timeline") };
    }), [1, 2, 3, 4]),
    el("h2", {}, `Memory on the adapter: ${bytes(total)}`),
    table(["kind", "bytes", ""], Object.entries(data.memory).map(([kind, n]) => ({ cells: [kind, bytes(n), meter(n / total)] })), [1]),
    el("h2", {}, "Passes"),
    table(["graph", "pass", "changes", "nodes left"], (data.passes ?? []).filter((p) => p.changes).map((p) => (
      { cells: [p.graph, p.pass, p.changes, p.nodes] })), [2, 3]));
}

function timeline() {
  const widths = [...(data.profile ? [["seconds", "time"]] : []), ["flops", "operations"], ["bytes", "bytes moved"], ["equal", "nothing"]];
  show(view, el("p", {}, el("label", {}, "As wide as their ", choice(widths, state.widths, (w) => { state.widths = w; timeline(); })),
    el("span", { class: "quiet" }, "  Equal colours are equal kernels.")),
  ...programs.flatMap((program) => {
    const p = data.programs[program], size = (s) => (state.widths === "equal" ? 1 : s[state.widths]);
    const total = sum(p.steps.map(size)) || 1, row = el("div", { class: "timeline", role: "group", "aria-label": program });
    p.steps.forEach((step, i) => {
      const about = `${program} ${i}: ${step.kernel}${step.seconds === null ? "" : `, ${time(step.seconds)}`}`;
      const button = el("button", { class: "dispatch", title: about, "aria-label": about, "data-program": program, "data-step": i, onclick: () => showStep(program, i) });
      button.style.width = `${100 * size(step) / total}%`;
      button.style.background = colour(kernelIndex.get(step.kernel));
      row.append(button);
    });
    const at = Object.entries(p.symbols).map(([s, v]) => `${s}=${v}`).join(" ");
    return [el("h2", {}, program, el("span", { class: "quiet" }, `  ${p.steps.length} dispatches${p.seconds === null ? "" : `, ${time(p.seconds)}`}${at ? `, ${at}` : ""}`)), row];
  }));
  if (state.step) view.querySelector(`.dispatch[data-program="${CSS.escape(state.step[0])}"][data-step="${state.step[1]}"]`)?.classList.add("chosen");
}

function kernels() {
  const rows = Object.keys(data.kernels).map((name) => {
    const steps = uses.get(name).map(([program, i]) => data.programs[program].steps[i]);
    const seconds = data.profile ? sum(steps.map((s) => s.seconds)) : null;
    return { name, uses: steps.length, flops: sum(steps.map((s) => s.flops)), bytes: sum(steps.map((s) => s.bytes)), seconds };
  });
  rows.sort((a, b) => (b.seconds ?? b.flops) - (a.seconds ?? a.flops));
  const head = ["kernel", "uses", "operations", "bytes moved", ...(data.profile ? ["time", "of the roofline"] : [])];
  show(view, data.profile ? el("div", {}, el("h2", {}, "Kernels under the roofline"), roof(rows)) : null, el("h2", {}, "Kernels"),
    table(head, rows.map((r) => ({
      cells: [r.name, r.uses, count(r.flops, "FLOP"), bytes(r.bytes),
        ...(data.profile ? [time(r.seconds), percent(roofline(r) / Math.max(r.seconds, 1e-12))] : [])],
      go: () => showKernel(r.name),
    })), [1, 2, 3, 4, 5]));
}

function roof(rows) { // operations a second over operations a byte, both as powers of ten
  const seen = rows.filter((r) => r.flops && r.seconds), width = 720, height = 300, pad = 46;
  if (!seen.length) return el("p", { class: "quiet" }, "no kernel counts operations");
  const { flops, bytes: bandwidth } = data.profile, log = Math.log10, knee = flops / bandwidth;
  const xs = [...seen.map((r) => r.flops / r.bytes), knee].map(log), ys = [...seen.map((r) => r.flops / r.seconds), flops].map(log);
  const [x0, x1, y0, y1] = [Math.floor(Math.min(...xs)), Math.ceil(Math.max(...xs)) + 0.3, Math.floor(Math.min(...ys)), Math.max(...ys) + 0.2];
  const x = (v) => pad + (v - x0) / (x1 - x0) * (width - 2 * pad), y = (v) => height - pad - (v - y0) / (y1 - y0) * (height - 2 * pad);
  const ticks = [];
  for (let i = x0; i <= x1; i++) ticks.push(svg("text", { x: x(i), y: height - pad + 16, "text-anchor": "middle" }, `${10 ** i}`));
  for (let i = y0; i <= y1; i++) ticks.push(svg("text", { x: pad - 6, y: y(i) + 4, "text-anchor": "end" }, scaled(10 ** i, ["", "k", "M", "G", "T"])));
  const limit = `M ${x(x0)} ${y(log(bandwidth) + x0)} L ${x(log(knee))} ${y(log(flops))} L ${x(x1)} ${y(log(flops))}`;
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": "roofline" },
    svg("path", { class: "axis", fill: "none", d: `M ${pad} ${pad / 2} V ${height - pad} H ${width - pad}` }), svg("path", { class: "roof", d: limit }),
    svg("text", { x: width / 2, y: height - 8, "text-anchor": "middle" }, "operations for each byte moved"),
    svg("text", { x: 4, y: 14 }, "operations a second"), ...ticks,
    ...seen.map((r) => svg("circle", { class: "life", cx: x(log(r.flops / r.bytes)), cy: y(log(r.flops / r.seconds)), r: 5,
      fill: colour(kernelIndex.get(r.name)), onclick: () => showKernel(r.name) }, svg("title", {}, r.name))));
}

function memory() {
  const p = data.programs[state.memory], lives = p.memory, slots = [...new Set(lives.map((l) => l.buffer))].sort((a, b) => a - b);
  const width = 900, step = width / Math.max(1, p.steps.length), all = sum(slots.map((b) => data.buffers[b].bytes)) || 1;
  const height = Math.max(220, 26 * slots.length), tall = (b) => Math.max(8, height * data.buffers[b].bytes / all);
  const top = new Map();
  let y = 0;
  for (const slot of slots) { top.set(slot, y); y += tall(slot) + 3; }
  const busy = p.steps.map((_, i) => sum(lives.filter((l) => l.first <= i && i <= l.last).map((l) => data.buffers[l.buffer].bytes)));
  show(view, el("p", {}, choice(programs.map((n) => [n, n]), state.memory, (n) => { state.memory = n; memory(); }),
    el("span", { class: "quiet" }, `  ${slots.length} scratch buffers, ${bytes(all === 1 ? 0 : all)}; busiest ${bytes(Math.max(0, ...busy))}. From left to right the dispatches, from top to bottom the buffers, as tall as they are large.`)),
  lives.length ? svg("svg", { viewBox: `0 0 ${width} ${y}`, width, role: "img", "aria-label": "memory over time" },
    ...lives.map((l) => svg("rect", { class: "life", x: l.first * step, y: top.get(l.buffer), width: (l.last - l.first + 1) * step, height: tall(l.buffer),
      fill: colour(p.steps[l.first].operation), onclick: () => showStep(state.memory, l.first) },
    svg("title", {}, `${l.value}: ${l.type}, in buffer ${l.buffer} of ${bytes(data.buffers[l.buffer].bytes)} from dispatch ${l.first} to ${l.last}`))))
    : el("p", { class: "quiet" }, "this program needs no scratch memory"),
  el("h2", {}, "What stays"),
  table(["kind", "name", "bytes"], data.buffers.filter((b) => !["scratch", "weight"].includes(b.kind)).map((b) => ({ cells: [b.kind, b.name, bytes(b.bytes)] })), [2]));
}

function weights() {
  const kinds = new Map(), total = sum(data.weights.map((w) => w.bytes)) || 1;
  for (const w of data.weights) {
    const kind = `${w.dtype}, ${w.layout}`, [n, b] = kinds.get(kind) ?? [0, 0];
    kinds.set(kind, [n + 1, b + w.bytes]);
  }
  show(view, el("h2", {}, `${data.weights.length} weights, ${bytes(total)}`),
    table(["type and layout", "weights", "bytes", ""], [...kinds].sort((a, b) => b[1][1] - a[1][1]).map(([kind, [n, b]]) => (
      { cells: [kind, n, bytes(b), meter(b / total)] })), [1, 2]),
    el("h2", {}, "By size"),
    table(["bytes", "type", "layout", "name"], data.weights.map((w) => (
      { cells: [bytes(w.bytes), w.type, w.layout, el("span", { class: "mono" }, w.name)], go: () => showWeight(w) })), [0]));
}

// search

const places = [
  ...Object.entries(graphs).flatMap(([key, g]) => g.drawn.nodes.map((n, i) => (
    { kind: g.model ?? g.program, text: `${n.op} ${n.name}`, more: (n.makes ?? []).join(" "), go: () => openGraph(key, i) }))),
  ...Object.keys(data.kernels).map((name) => ({ kind: "kernel", text: name, more: "", go: () => { open("Kernels"); showKernel(name); } })),
  ...data.weights.map((w) => ({ kind: "weight", text: w.name, more: w.type, go: () => { open("Weights"); showWeight(w); } })),
].map((place) => ({ ...place, words: `${place.kind} ${place.text} ${place.more}`.toLowerCase() }));

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length ? places.filter((place) => words.every((word) => place.words.includes(word))).slice(0, 60) : [];
}

const search = document.getElementById("search"), results = document.getElementById("results");
function choose(place) { results.hidden = true; place.go(); }
search.addEventListener("input", () => {
  const found = find(search.value);
  results.hidden = !search.value.trim();
  show(results, ...(found.length ? found.map((place) => el("li", {}, el("button", { onclick: () => choose(place) },
    el("span", {}, place.kind), el("span", { class: "mono" }, place.text)))) : [el("li", { class: "quiet" }, "nothing of that name")]));
});
search.addEventListener("keydown", (e) => {
  if (e.key === "Enter" && find(search.value).length) choose(find(search.value)[0]);
  if (e.key === "Escape") results.hidden = true;
  if (e.key === "ArrowDown") { e.preventDefault(); results.querySelector("button")?.focus(); }
});
document.addEventListener("click", (e) => { if (!document.getElementById("finder").contains(e.target)) results.hidden = true; });
document.addEventListener("keydown", (e) => {
  if (e.key === "/" && document.activeElement !== search) { e.preventDefault(); search.focus(); }
});

// tabs

const tabs = { Overview: overview, Graph: graphView, Timeline: timeline, Kernels: kernels, Memory: memory, Weights: weights };
function open(tab) {
  state.tab = tab;
  canvas = null;
  view.className = tab === "Graph" ? "whole" : "";
  for (const button of document.querySelectorAll("#tabs button")) button.setAttribute("aria-selected", button.textContent === tab);
  tabs[tab]();
}
show(document.getElementById("tabs"), ...Object.keys(tabs).map((tab) => el("button", { role: "tab", onclick: () => open(tab) }, tab)));
dark.addEventListener("change", () => open(state.tab));
open(state.tab);
