"""The static twins in a real browser: an exported page, opened from disk without a network."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect, sync_playwright

import csd_edu as csd
from csd_edu import widgets
from csd_edu.comparison import Comparison
from csd_edu.widgets import twin
from tests import browser
from tests.conftest import TINY, need, striped

pytestmark = pytest.mark.slow


def test_an_exported_page_draws_the_twins_without_network_and_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbconvert import HTMLExporter

    need(browser.CHROMIUM, "no Chromium on this machine")
    stream = csd.split(striped(noise=150), n_tasks=3, seed=0)
    methods = (csd.methods.finetune, csd.methods.csd)
    runs = [csd.train(stream, m, TINY, out=tmp_path / m.__name__, progress=False) for m in methods]
    comparison = Comparison.of(*runs)
    monkeypatch.setattr(twin, "_bringer", [])
    panels = [
        widgets.ForgettingMatrices(comparison),
        widgets.DriftExplorer(comparison, maps=("pca",)),
        widgets.RetrievalExplorer(comparison, k=4),
        widgets.PairView(comparison.runs["csd"], n_classes=2, per_class=4),
    ]
    cells = [
        nbformat.v4.new_code_cell(
            panel.title,
            outputs=[nbformat.v4.new_output("execute_result", panel._repr_mimebundle_(), execution_count=1)],
        )
        for panel in panels
    ]
    exporter = HTMLExporter(template_name="basic")  # the full one fetches scripts of its own from the network
    page, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=cells))
    (tmp_path / "exported.html").write_text(f'<!DOCTYPE html><meta charset="utf-8">{page}', encoding="utf-8")
    errors: list[str] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.CHROMIUM, args=browser.ARGUMENTS)
        tab = chromium.new_page(viewport={"width": 1100, "height": 900})
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.context.set_offline(True)
        tab.goto((tmp_path / "exported.html").as_uri())
        plots = tab.locator(".csd-twin .js-plotly-plot")
        expect(plots).to_have_count(len(panels), timeout=20_000)
        tab.wait_for_function("() => [...document.querySelectorAll('.js-plotly-plot')].every(p => p._fullData?.length)")
        drift = plots.nth(1)
        before = drift.evaluate("p => [...p._fullData[4].x]")
        drift.locator(".slider-rail-touch-rect").first.click(position={"x": 3, "y": 5}, force=True)
        tab.wait_for_function(
            "before => JSON.stringify([...document.querySelectorAll('.js-plotly-plot')][1]._fullData[4].x) != before",
            arg=json.dumps(before),
        )
        browser.ARTEFACTS.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=browser.ARTEFACTS / "exported-twins.png", full_page=True)
        chromium.close()
    assert errors == []
    for panel in panels:
        panel.close()
