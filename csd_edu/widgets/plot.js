// The module of the widget Plot, after view.js.

// Return the figure as it is in its frame, without what only plays in a page: the widget has sliders of its own.
function shown(model) {
  const figure = JSON.parse(model.get("figure"));
  const player = figure.layout.sliders ? figure.layout.meta?.player ?? 0 : 0;
  delete figure.layout.sliders;
  delete figure.layout.updatemenus;
  if (player) {
    const { margin, height, legend } = figure.layout;
    if (legend?.y < 0) legend.y += player / (height - margin.t - margin.b);
    figure.layout.height -= player;
    margin.b -= player;
  }
  const frame = model.get("frame") ? JSON.parse(model.get("frame")) : { data: [], traces: [] };
  frame.traces.forEach((index, k) => {
    const { marker, ...others } = frame.data[k];
    const trace = Object.assign(figure.data[index], others);
    if (marker) trace.marker = { ...trace.marker, ...marker };
  });
  const { title, ...others } = frame.layout ?? {};
  Object.assign(figure.layout, others);
  if (title) figure.layout.title = { ...figure.layout.title, ...title };
  return figure;
}

function render({ model, el }) {
  let last = Promise.resolve();
  const redraw = moving => {
    last = last.then(async () => {
      const place = await draw(el, shown(model), moving);
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
  // Figure and frame may change in one message: then the points must not wander from the old figure to the new one.
  let fresh = false, waiting = false;
  const changed = figure => {
    fresh ||= figure;
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      redraw(!fresh);
      fresh = waiting = false;
    });
  };
  const onFigure = () => changed(true), onFrame = () => changed(false);
  model.on("change:figure", onFigure);
  model.on("change:frame", onFrame);
  let width = el.clientWidth;
  redraw(false);
  const observer = new ResizeObserver(() => {
    if (el.clientWidth && el.clientWidth !== width) {
      width = el.clientWidth;
      redraw(false);
    }
  });
  observer.observe(el);
  return async () => {
    observer.disconnect();
    model.off("change:figure", onFigure);
    model.off("change:frame", onFrame);
    const Plotly = await plotly();
    if (el.children[1]) Plotly.purge(el.children[1]);
  };
}
export default { render };
