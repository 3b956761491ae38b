// The module of the widget Plot, after view.js.

// Return the figure without what only plays in a page: the widget has sliders of its own.
function withoutPlayer(figure) {
  const { sliders, updatemenus, ...layout } = figure.layout;
  const player = sliders ? layout.meta?.player ?? 0 : 0;
  if (player) {
    const { margin, height, legend } = layout;
    if (legend?.y < 0) layout.legend = { ...legend, y: legend.y + player / (height - margin.t - margin.b) };
    layout.margin = { ...margin, b: margin.b - player };
    layout.height = height - player;
  }
  return { data: figure.data, layout };
}

// Return the figure as it is in a frame, with the chosen point ringed; traces are told by their role.
function inFrame(figure, frame, trails, chosen) {
  const data = figure.data.map(trace => ({ ...trace }));
  frame?.traces.forEach((index, k) => {
    const { marker, ...others } = frame.data[k];
    Object.assign(data[index], others, marker ? { marker: { ...data[index].marker, ...marker } } : {});
  });
  data.forEach((trace, index) => {
    if (trace.meta?.role === "trails") trace.visible = trails;
    if (trace.meta?.role === "selected") {
      const points = data[index - 1];
      [trace.x, trace.y] = chosen < 0 ? [[], []] : [[points.x[chosen]], [points.y[chosen]]];
    }
  });
  const { title, ...others } = frame?.layout ?? {};
  return { data, layout: { ...figure.layout, ...others, title: { ...figure.layout.title, ...title } } };
}

// Let the still picture of this widget, if it is on the page, make room.
function tellTwin(panel) {
  window.csdAlive = (window.csdAlive ?? new Set()).add(panel);
  document.dispatchEvent(new Event("csd-alive"));
}

function render({ model, el }) {
  let figure, frames, width = el.clientWidth, last = Promise.resolve();
  const redraw = moving => {
    last = last.then(async () => {
      const frame = frames[model.get("index")];
      tellTwin(model.get("panel"));
      const place = await draw(el, inFrame(figure, frame, model.get("trails"), model.get("chosen")), moving);
      place.removeAllListeners("plotly_click");
      place.on("plotly_click", ({ points: [point] }) => {
        const { curveNumber: trace, pointNumber, x, y } = point;
        model.set("clicked", { trace, point: pointNumber, x, y, time: Date.now() });
        model.save_changes();
      });
    }).catch(error => {
      console.error(error);
      el.textContent = `The figure could not be drawn: ${error}`;
    });
  };
  // Several may change in one message; points must not wander from an old figure to a new one.
  let fresh = true, waiting = false;
  const changed = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      if (fresh) {
        figure = withoutPlayer(JSON.parse(model.get("figure")));
        frames = JSON.parse(model.get("frames"));
      }
      redraw(!fresh);
      fresh = waiting = false;
    });
  };
  const renewed = () => { fresh = true; changed(); };
  model.on("change:figure change:frames", renewed);
  model.on("change:index change:trails change:chosen", changed);
  renewed();
  const observer = new ResizeObserver(() => {
    if (!el.clientWidth || el.clientWidth === width) return;
    width = el.clientWidth;
    if (figure) redraw(false);
  });
  observer.observe(el);
  return async () => {
    observer.disconnect();
    model.off("change:figure change:frames", renewed);
    model.off("change:index change:trails change:chosen", changed);
    const Plotly = await plotly();
    if (el.children[1]) Plotly.purge(el.children[1]);
  };
}
export default { render };
