"""Training, watched: loss terms by name, progress and time left while the cell runs."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from csd_edu import plots
from csd_edu.config import Config
from csd_edu.files import temporary_folder
from csd_edu.identity import describe_method
from csd_edu.learn import check_setting
from csd_edu.learner import Record
from csd_edu.methods import AnyMethod, card_of, name_of
from csd_edu.output import say
from csd_edu.paths import given_path
from csd_edu.runs import Run
from csd_edu.tasks import Stream
from csd_edu.train import Progress, as_it_is, train
from csd_edu.widgets.panel import Panel, Picture
from csd_edu.widgets.twin import table

PAUSE = 0.4  # seconds between two drawings, lest drawing slows training down


class LiveTraining(Panel):
    """Train as `csd.train` does, and watch it: `run = LiveTraining(stream, csd.methods.csd, out="runs/csd").train()`.

    Interrupting the cell leaves a run that the same call continues.

    Args:
        stream: the tasks, from `csd.split`.
        method: as for `csd.train`.
        config: how to train; default `Config()`.
        out: the run folder; default a new temporary folder.
    """

    title = "Live training"

    def __init__(
        self, stream: Stream, method: AnyMethod, config: Config | None = None, *, out: str | Path | None = None
    ) -> None:
        check_setting(stream, config)
        self.stream, self.method = stream, method
        self.config = Config() if config is None else config
        self.out = temporary_folder() if out is None else given_path(out, what="out")
        self.records: list[Record] = []
        super().__init__()

    def build(self) -> Sequence[Any]:
        from ipywidgets import HTML, FloatProgress

        name = describe_method(self.method)["name"] if callable(self.method) else repr(self.method)
        self.progress = FloatProgress(0.0, min=0.0, max=1.0, layout={"width": "100%"})
        self.status = HTML("<p>not begun: call <code>train()</code></p>")
        card = card_of(self.method) if callable(self.method) else None
        self.cards = {name_of(self.method): card} if card else {}
        self.losses = Picture(self._losses())
        self.recall = HTML()
        heading = f"<p><strong>{html.escape(name)}</strong> on {html.escape(self.stream.dataset.name)}</p>"
        return HTML(heading), self.progress, self.status, self.losses.widget, self.recall

    def train(self) -> Run:
        """Train, showing how it goes on; arguments, errors and the returned run are those of `csd.train`."""
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        live = self.widget is not None and getattr(shell, "kernel", None) is not None
        if not live and self.reason is not None:
            say(f"csd_edu: no live view: {self.reason}")
        return train(self.stream, self.method, self.config, out=self.out, progress=self._watch if live else True)

    def _watch(self, records: Iterator[Record], progress: Progress) -> Iterator[Record]:
        """Pass the records on, and show where training stands."""
        from IPython.display import display

        self.records = progress.run.records
        display(self)
        finished = progress.run.finished
        begun, before, drawn = time.monotonic(), progress.done, 0.0
        show = self.guarded(lambda: self._show(progress, time.monotonic() - begun, before))
        try:
            for record in records:
                progress.count(record)
                self.records.append(record)
                if record["kind"] == "task" or time.monotonic() - drawn > PAUSE:
                    show()
                    drawn = time.monotonic()
                yield record
            show()
            done = f"done: {self.stream.n_tasks} tasks learnt, saved in {self.out}"
            self._say(as_it_is(progress.run) if finished else done, "success")
        except BaseException as error:  # an interrupt too: what is saved, and how to go on, must be said
            show()
            interrupted = isinstance(error, KeyboardInterrupt | GeneratorExit)
            how = "interrupted" if interrupted else f"stopped by {type(error).__name__}"
            self._say(f"{how}; what was learnt is saved in {self.out}, and the same cell goes on from there", "warning")
            raise
        finally:
            self._renew_twin()  # the twin in the notebook's file has the figures as they are now

    def figures(self) -> list[go.Figure]:
        return [self._losses()] if self.records else []

    def numbers(self) -> str:
        measured = [record for record in self.records if record["kind"] == "task"]
        rows = [[record["task"], record["overall"]["recall_at_1"]] for record in measured]
        return table(["after learning task", "Recall@1 (seen)"], rows) if rows else "<p>No task is learnt yet.</p>"

    def _show(self, progress: Progress, seconds: float, before: int) -> None:
        """Draw where training stands; `before` images had passed when this call began, `seconds` ago."""
        done, total = progress.done, progress.total
        self.progress.value = min(1.0, done / total) if total else 1.0
        last = self.records[-1] if self.records else None
        if last is not None:
            left = "" if done <= before else f", about {_clock(seconds * (total - done) / (done - before))} left"
            epoch = (
                f"epoch {last['epoch'] + 1}/{self.config.epochs_of(last['task'])}" if _is_epoch(last) else "measured"
            )
            self._say(f"task {last['task'] + 1}/{self.stream.n_tasks}, {epoch}; {_clock(seconds)} so far{left}")
            self.losses.show(self._losses())
        self.recall.value = self.numbers()

    def _losses(self) -> go.Figure:
        """Return the loss terms over the epochs so far; an empty frame before the first."""
        if any(_is_epoch(record) for record in self.records):
            return plots.loss_terms(self.records, cards=self.cards)
        return go.Figure(layout={"template": plots.TEMPLATE, "height": 320, "title": {"text": "<b>Loss terms</b>"}})

    def _say(self, text: str, style: str = "info") -> None:
        self.status.value = f'<p role="status">{html.escape(text)}</p>'
        self.progress.bar_style = style


def _is_epoch(record: Record) -> bool:
    return bool(record["kind"] == "epoch")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
