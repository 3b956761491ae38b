const changed = (old, changes) => {  // as written by the report: an object changes keys or items, all else replaces
  if (changes === null || typeof changes !== "object" || Array.isArray(changes)) return changes;
  const copy = Array.isArray(old) ? [...old] : { ...old };
  for (const key in changes) {
    if (changes[key] === null && !Array.isArray(old)) delete copy[key];
    else copy[key] = changed(copy[key], changes[key]);
  }
  return copy;
};
const figures = [...document.querySelectorAll("figure")].map(figure => {
  const drawing = figure.querySelector(".drawing");
  drawing.textContent = "";
  return { drawing, source: figure.querySelector("script").textContent };
});
function version(source, name) {
  const { wide, narrow, images } = JSON.parse(source);
  const drawn = name === "wide" ? wide : changed(wide, narrow);
  for (const image of drawn.layout.images || []) image.source = images[image.source];
  return drawn;
}
function moveTo(drawn, step) {  // a figure with a slider as it is at that step
  const frame = drawn.frames[step];
  frame.traces.forEach((trace, k) => {
    const { marker, ...moved } = frame.data[k];
    Object.assign(drawn.data[trace], moved);
    Object.assign(drawn.data[trace].marker || {}, marker);
  });
  Object.assign(drawn.layout, frame.layout);
  drawn.layout.sliders[0].active = step;
}
function draw(fixedWidth) {
  for (const figure of figures) {
    const { drawing, source } = figure, width = fixedWidth || drawing.clientWidth;
    if (!width) continue;  // not on screen
    const name = width < 760 ? "narrow" : "wide";
    if (figure.name === name) {
      Plotly.relayout(drawing, { width });
      continue;
    }
    const { data, layout, frames } = version(source, name), slider = drawing.layout?.sliders?.[0];
    if (slider) moveTo({ data, layout, frames }, slider.active);
    figure.name = name;
    Plotly.react(drawing, { data, layout: { ...layout, width }, frames, config: { displayModeBar: false } });
  }
}
draw();
addEventListener("resize", () => draw());
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(details => { details.open = true; });
  draw(1000);  // the style sheet shrinks it to the paper
});
addEventListener("afterprint", () => draw());
