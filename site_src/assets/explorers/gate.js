// The gate explorer of chapter 5: move a gate's logit, temperature and stretch, and see what
// the fit samples and what it keeps.
//
//   s = sigmoid((logit(u) + alpha) / beta),  z = clip(s (zeta - gamma) + gamma, 0, 1)
//
// The first part is arithmetic and has no page: Node requires it, and a test compares it with
// `calibration.l0.gates`. The second part draws. No dependencies; works from file://.

(function (root) {
  "use strict";

  // The defaults of `calibration.l0.options.L0Options`; alpha stands at the edge of closing.
  const START = { alpha: 0, beta: 0.35, gamma: -0.1, zeta: 1.1 };
  const BINS = 10; // between 0 and 1; exactly 0 and exactly 1 have bins of their own

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const logit = (p) => Math.log(p / (1 - p));

  // The logit up to which the median gate is 0.
  const threshold = ({ beta, gamma, zeta }) => beta * Math.log(-gamma / zeta);

  // P(z > 0).
  const openProbability = (g) => sigmoid(g.alpha - threshold(g));

  // The gate for a uniform u strictly between 0 and 1.
  function sampleGate(g, u) {
    const s = sigmoid((logit(u) + g.alpha) / g.beta);
    return Math.min(1, Math.max(0, s * (g.zeta - g.gamma) + g.gamma));
  }

  // The gate after the fit: u = 1/2, and 0 up to the threshold.
  const medianGate = (g) => (g.alpha <= threshold(g) ? 0 : sampleGate(g, 0.5));

  // The gate that leaves beta out, as the original paper's does after the fit.
  const gateWithoutBeta = (g) => medianGate({ ...g, beta: 1 });

  // P(z <= x) for x in [0, 1).
  function distribution(g, x) {
    const s = (x - g.gamma) / (g.zeta - g.gamma);
    return sigmoid(g.beta * logit(s) - g.alpha);
  }

  // P(z = 0), P(0 < z < 1), P(z = 1).
  function shares(g) {
    const zero = distribution(g, 0);
    const one = 1 - distribution(g, 1);
    return { zero, between: 1 - zero - one, one };
  }

  // Shares of z: exactly 0, BINS bins of equal width, exactly 1.
  function bins(g) {
    const edges = Array.from({ length: BINS + 1 }, (_, k) => distribution(g, k / BINS));
    const inner = edges.slice(1).map((value, k) => value - edges[k]);
    return [edges[0], ...inner, 1 - edges[BINS]];
  }

  const gate = {
    START, BINS, threshold, openProbability, sampleGate, medianGate, gateWithoutBeta,
    distribution, shares, bins,
  };

  // -- the page -----------------------------------------------------------------------

  const SLIDERS = [
    { name: "alpha", label: "log α", low: -6, high: 6, step: 0.05, digits: 2 },
    { name: "beta", label: "β, temperature", low: 0.05, high: 1, step: 0.05, digits: 2 },
    { name: "gamma", label: "γ, lower stretch", low: -1, high: -0.05, step: 0.05, digits: 2 },
    { name: "zeta", label: "ζ, upper stretch", low: 1.05, high: 2, step: 0.05, digits: 2 },
  ];
  const SPACE = "http://www.w3.org/2000/svg";
  const WIDTH = 320, HEIGHT = 200, LEFT = 40, RIGHT = 10, TOP = 12, BOTTOM = 38;
  const px = (x, low, high) => LEFT + ((x - low) / (high - low)) * (WIDTH - LEFT - RIGHT);
  const py = (y) => HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM);
  const percent = (p) => `${(100 * p).toFixed(1)} %`;
  let instances = 0;

  function element(parent, name, attributes, text) {
    const svg = parent.namespaceURI === SPACE || name === "svg";
    const made = svg ? document.createElementNS(SPACE, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.appendChild(made);
    return made;
  }

  function axes(parent, label, ticks, below) {
    const box = `0 0 ${WIDTH} ${HEIGHT}`;
    const svg = element(parent, "svg", { viewBox: box, role: "img", "aria-label": label });
    for (const y of [0, 0.5, 1]) {
      const line = { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y) };
      element(svg, "line", line);
      element(svg, "text", { x: LEFT - 6, y: py(y) + 4, "text-anchor": "end" }, String(y));
    }
    for (const [x, text] of ticks) {
      element(svg, "text", { x, y: py(0) + 16, "text-anchor": "middle" }, text);
    }
    const middle = (LEFT + WIDTH - RIGHT) / 2;
    element(svg, "text", { x: middle, y: HEIGHT - 6, "text-anchor": "middle" }, below);
    return svg;
  }

  function drawBars(parent) {
    const slot = (WIDTH - LEFT - RIGHT) / (BINS + 2);
    const center = (k) => LEFT + (k + 0.5) * slot;
    const ticks = [[center(0), "0"], [center((BINS + 1) / 2), "between"], [center(BINS + 1), "1"]];
    const label = "Bar chart: shares of sampled gates that are exactly 0, between, and exactly 1";
    const svg = axes(parent, label, ticks, "sampled gate z, share of epochs");
    const bars = bins(START).map((_, k) => {
      const kind = k === 0 ? "bar shut" : k === BINS + 1 ? "bar" : "bar between";
      return element(svg, "rect", { class: kind, x: center(k) - slot * 0.4, width: slot * 0.8 });
    });
    return (g) => bins(g).forEach((share, k) => {
      bars[k].setAttribute("y", py(share));
      bars[k].setAttribute("height", py(0) - py(share));
    });
  }

  function drawCurve(parent) {
    const [low, high] = [SLIDERS[0].low, SLIDERS[0].high];
    const ticks = [-6, -3, 0, 3, 6].map((a) => [px(a, low, high), String(a).replace("-", "−")]);
    const label = "Line chart: median gate against log alpha, with and without beta";
    const svg = axes(parent, label, ticks, "log α;  line: median gate,  dashes: without β");
    const paper = element(svg, "path", { class: "paper" });
    const median = element(svg, "path", { class: "median" });
    const edge = element(svg, "line", { class: "edge", y1: py(0), y2: py(1) });
    const dot = element(svg, "circle", { class: "dot", r: 5 });
    const path = (of, g) => Array.from({ length: 241 }, (_, k) => {
      const alpha = low + (k * (high - low)) / 240;
      return `${k ? "L" : "M"}${px(alpha, low, high)} ${py(of({ ...g, alpha }))}`;
    }).join("");
    return (g) => {
      median.setAttribute("d", path(medianGate, g));
      paper.setAttribute("d", path(gateWithoutBeta, g));
      for (const end of ["x1", "x2"]) edge.setAttribute(end, px(threshold(g), low, high));
      dot.setAttribute("cx", px(g.alpha, low, high));
      dot.setAttribute("cy", py(medianGate(g)));
    };
  }

  function sentence(g) {
    const open = openProbability(g);
    const share = shares(g);
    const fate = medianGate(g) > 0 ? `kept, with gate ${medianGate(g).toFixed(3)}` : "dropped";
    const paper = gateWithoutBeta(g) > 0 ? "keep" : "drop";
    return `P(z > 0) = ${percent(open)}: the column is ${fate}. ` +
      `Sampled gates: ${percent(share.zero)} exactly 0, ${percent(share.between)} between, ` +
      `${percent(share.one)} exactly 1. The median gate shuts at log α = ` +
      `${threshold(g).toFixed(3).replace("-", "−")}. Without β the gate would ${paper} it.`;
  }

  function build(place) {
    const state = { ...START };
    const prefix = `gate-explorer-${(instances += 1)}`;
    place.textContent = "";
    place.classList.add("explorer-ready");
    const controls = element(place, "div", { class: "explorer-controls" });
    const plots = element(place, "div", { class: "explorer-plots" });
    const parts = [drawBars(plots), drawCurve(plots)];
    const words = element(place, "p", { class: "explorer-words", "aria-live": "polite" });
    const update = () => {
      parts.forEach((draw) => draw(state));
      words.textContent = sentence(state);
    };
    for (const { name, label, low, high, step, digits } of SLIDERS) {
      const id = `${prefix}-${name}`;
      const row = element(controls, "div", { class: "explorer-control" });
      element(row, "label", { for: id }, label);
      const range = { id, type: "range", min: low, max: high, step, value: state[name] };
      const input = element(row, "input", range);
      const shown = element(row, "output", { for: id });
      const show = () => {
        state[name] = Number(input.value);
        shown.textContent = state[name].toFixed(digits).replace("-", "−");
      };
      input.addEventListener("input", () => { show(); update(); });
      show();
    }
    update();
  }

  function start() {
    document.querySelectorAll('[data-explorer="gate"]:not(.explorer-ready)').forEach(build);
  }

  if (typeof module !== "undefined" && module.exports) {
    module.exports = gate;
  } else {
    root.gateExplorer = gate;
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
  }
})(typeof globalThis === "undefined" ? this : globalThis);
