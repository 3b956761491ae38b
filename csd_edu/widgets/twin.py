"""The static twin of a widget: its figures and its numbers as one piece of HTML, for which no kernel is needed.

The numbers are plain HTML. The figures are drawn by plotly.js, which the first twin in a notebook brings along,
compressed: no network is needed either. Where no JavaScript runs, the numbers are still there.
"""

from __future__ import annotations

import base64
import functools
import gzip
import html
import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from csd_edu.results import number


def static_html(
    figures: Sequence[go.Figure], numbers: str, *, title: str, reason: str | None = None, panel: str | None = None
) -> str:
    """Return HTML that shows figures and numbers without a kernel or a network.

    Args:
        figures: sliders and frames inside a figure go on working.
        numbers: HTML, already escaped, that says in numbers what the figures show.
        title: above the twin; escaped here.
        reason: why the widget itself is not there, if it is known; escaped here.
        panel: the id of the living widget, if there is one: the twin hides where that is alive.
    """
    heading = f"<strong>{html.escape(title)}</strong> (still picture)"
    why = "" if reason is None else f"<p>The interactive widget could not be shown: {html.escape(reason)}</p>"
    twin = f"csd-twin-{uuid.uuid4().hex}"
    # "<" must not end the script, whatever a class is called.
    drawings = json.dumps([json.loads(figure.to_json()) for figure in figures]).replace("<", "\\u003c")
    places = f'<div class="csd-figure" role="img" aria-label="{html.escape(title, quote=True)}"></div>' * len(figures)
    script = DRAW.replace("VIEW", javascript("view")).replace("TWIN", twin).replace("PANEL", panel or "")
    script = script.replace("DRAWINGS", drawings)
    content = f"<details{' open' * (panel is None)}><summary>{heading}</summary>{why}{places}{numbers}</details>"
    return f'<div class="csd-twin" id="{twin}">{content}</div>{_library()}{script}'


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as HTML: texts are escaped, numbers rounded to three digits, None is a dash."""

    def cell(value: object) -> str:
        if value is None:
            return "–"
        return number(value) if isinstance(value, float) else html.escape(str(value))

    line = "".join(f'<th scope="col" style="text-align:left;padding:2px 12px 2px 0">{cell(h)}</th>' for h in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left;padding:2px 12px 2px 0">{cell(v)}</td>' for v in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{line}</tr></thead><tbody>{body}</tbody></table>"


DRAW = """<script>
(function () {
  VIEW
  const twin = document.getElementById("TWIN"), drawings = DRAWINGS;
  const places = [...twin.querySelectorAll(".csd-figure")];
  const details = twin.querySelector("details");
  const alive = () => window.csdAlive?.has("PANEL");
  const paint = () => details.open && places.forEach(async (place, i) => {
    const drawn = await draw(place, drawings[i]);
    const Plotly = await plotly();
    if (drawings[i].frames) await Plotly.addFrames(drawn, drawings[i].frames);
  });
  const hide = () => { twin.style.display = alive() ? "none" : ""; };
  document.addEventListener("csd-alive", hide);
  hide();
  details.addEventListener("toggle", paint);
  window.addEventListener("resize", paint);
  paint();
  setTimeout(() => { details.open = details.open || !alive(); }, 2500); // no widget has come: show the twin
  setTimeout(() => {
    if (plotly().here || alive()) return;
    const note = document.createElement("p");
    note.textContent = "The figures are drawn by plotly.js, which an earlier output of this notebook brought along " +
      "and which is no longer there. Restart the kernel and run the notebook once more.";
    twin.append(note);
  }, 10000);
})();
</script>"""

LIBRARY = """<script type="text/plain" id="csd-plotly-js">PACKED</script><script>
(function () {
  VIEW
  UNPACK
  const packed = atob(document.getElementById("csd-plotly-js").textContent);
  unpack(Uint8Array.from(packed, letter => letter.charCodeAt(0)));
})();
</script>"""

_bringer: list[Any] = []  # the cell whose output holds plotly.js; empty before the first


def _library() -> str:
    """Return plotly.js for the first twin in a notebook, and when the cell that brought it is run again."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    parent = getattr(getattr(shell, "kernel", None), "_parent_header", {}) or {}
    cell = parent.get("metadata", {}).get("cellId")
    if _bringer and (cell is None or cell not in _bringer):
        return ""
    _bringer[:] = [cell]
    page = LIBRARY.replace("VIEW", javascript("view")).replace("UNPACK", javascript("library"))
    return page.replace("PACKED", base64.b64encode(packed_plotly()).decode())


@functools.cache
def javascript(*names: str) -> str:
    """Return the scripts of these names beside this module, one after the other."""
    return "".join((Path(__file__).parent / f"{name}.js").read_text(encoding="utf-8") for name in names)


@functools.cache
def packed_plotly() -> bytes:
    """Return plotly.js, of the version that is installed, compressed by gzip."""
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode())
