// A plotly figure in a page: drawn as wide as its place, redrawn when that changes, its title as text that wraps.
// Used by the living widgets (as the module of an anywidget) and by their static twins (as a plain script).

const MOST_THAT_GLIDE = 2500; // more points than that would stutter

// Return a promise of plotly.js, which another output or widget of the page unpacks; see library.js.
function plotly() {
  if (!window.csdPlotly) {
    let arrived;
    window.csdPlotly = new Promise(resolve => { arrived = resolve; });
    window.csdPlotly.arrived = arrived;
  }
  return window.csdPlotly;
}

// Take the figure's title out of the drawing and put it above it.
function caption(figure) {
  const text = document.createElement("div");
  const { title = {}, margin = {}, height = 450 } = figure.layout;
  if (!title.text) return [text, figure.layout];
  // The titles are made by csd_edu.plots, which escapes every name in them.
  text.innerHTML = `<div style="font-size:18px;line-height:1.3">${title.text}</div>` +
    `<div style="font-size:14px;line-height:1.4;color:#59636e">${title.subtitle?.text ?? ""}</div>`;
  text.style.cssText = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;color:#1f2328;margin:8px 0 0";
  const top = Math.min(margin.t ?? 100, 40);
  const layout = { ...figure.layout, title: undefined, margin: { ...margin, t: top } };
  layout.height = height - ((margin.t ?? 100) - top);
  return [text, layout];
}

// Draw a figure in an element, instead of what is there; return plotly's element.
async function draw(element, figure, moving = false) {
  const Plotly = await plotly();
  let [head, place] = element.children;
  if (!place) {
    element.style.cssText += ";width:100%;min-width:0;background:white;color-scheme:light";
    head = element.appendChild(document.createElement("div"));
    place = element.appendChild(document.createElement("div"));
    place.style.width = "100%";
  }
  const [text, layout] = caption(figure);
  head.replaceChildren(text);
  const width = element.clientWidth || 700;
  // react() would keep what an earlier layout made of the axes; only points that move want it, for their way.
  const paint = moving ? Plotly.react : Plotly.newPlot;
  const points = figure.data.reduce((n, trace) => n + (trace.mode === "markers" ? trace.x?.length ?? 0 : 0), 0);
  const glide = moving && points <= MOST_THAT_GLIDE && { transition: { duration: 300, easing: "cubic-in-out" } };
  await paint(place, figure.data, { ...layout, width, ...glide }, { displayModeBar: false });
  return place;
}
