// Unpack plotly.js (gzip) once for the whole page, and hand it to those who wait for it in view.js.
async function unpack(bytes) {
  if (window.csdPlotly?.here) return;
  plotly().here = true;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(stream).text();
  const before = window.Plotly;
  // Classic notebooks have a module loader, to which plotly.js would give itself instead of to the window.
  new Function("define", "module", "exports", code).call(window);
  const Plotly = window.Plotly;
  if (before) window.Plotly = before; // another version, which other figures of the page were drawn with
  window.csdPlotly.arrived(Plotly);
}
