"""The report: one file about one or several runs, true of each, with nothing from the network."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from plotly.offline import get_plotlyjs

import csd_edu as csd
from csd_edu.metrics import summarize
from csd_edu.report import run_labels, write_report
from csd_edu.runs import Run

TASKS = [["a", "b"], ["c", "d"], ["e", "f"]]
NASTY = "<img src=x onerror=alert(1)></script>"


def make_run(
    path: Path, *, method="csd", tasks=TASKS, learnt=3, seed=0, dataset="toy", fingerprint="00000000", **about
):
    """Write a run folder with made-up numbers, as training leaves it after `learnt` tasks."""
    path.mkdir(parents=True)
    description = {
        "format": 1,
        "method": {"name": method, **about},
        "config": csd.Config(seed=seed).to_json(),
        "stream": {"dataset": dataset, "fingerprint": fingerprint, "tasks": tasks, "validation": 0.0, "seed": seed},
        "environment": {"csd_edu": "0.1.0", "python": "3.11.7", "torch": "2.11.0", "cpu_threads": 2},
    }
    (path / "config.json").write_text(json.dumps(description))
    rows, records = [], []
    for i in range(learnt):
        seen = [0.875 - 0.125 * (i - j) if j <= i else None for j in range(len(tasks))]
        row = {
            "recall_at_1": {"seen": seen, "task": [0.75] * len(tasks)},
            "head_accuracy": {"seen": [None if value is None else float(j == i) for j, value in enumerate(seen)]},
            "overall": {"recall_at_1": 0.875 - 0.0625 * i, "head_accuracy": 1 / (i + 1)},
        }
        rows.append(row)
        records += [
            {"kind": "epoch", "task": i, "epoch": 0, "losses": {"ce": 1.0, "csd": 5.0}, "seconds": 1.5},
            {"kind": "task", "task": i, "collapsed": i == 2, **row, "seconds": 0.5},
        ]
    (path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if rows:
        (path / "metrics.json").write_text(json.dumps(summarize(rows, len(tasks))))
    return Run.load(path)


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8").replace(get_plotlyjs(), "")
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.text += data

    def figures(self) -> list[dict]:
        """The figures' data, each in a wide and a narrow version."""
        parts = self.source.split('<script type="application/json">')[1:]
        return [json.loads(part.split("</script>")[0]) for part in parts]


def report(runs, tmp_path) -> Page:
    return Page(write_report(runs, tmp_path / "out" / "report.html"))


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Path:
    """A report about three methods."""
    folder = tmp_path_factory.mktemp("three")
    runs = [make_run(folder / name, method=name) for name in ("finetune", "csd", "joint")]
    return write_report(runs, folder / "deep" / "er" / "report.html")


def test_it_is_one_file_of_reasonable_size(three):
    assert [path.name for path in three.parent.iterdir()] == ["report.html"]
    assert 1e6 < three.stat().st_size < 8e6
    assert three.read_text(encoding="utf-8").count(get_plotlyjs()) == 1


def test_it_says_what_was_measured(three):
    text = Page(three).text
    assert "The 6 classes of toy arrive in 3 tasks of 2 classes." in text
    # after three tasks: R@1 .75, forgetting ((.875 - .625) + (.875 - .75)) / 2, head 1/3, of task 0 nothing, 3 × 2 s
    assert "csd 0.750 0.188 0.333 0.000 6.0" in text
    assert "Each row is one run with one seed." in text
    assert "Contrastive Supervised Distillation (Barletti et al. 2021)" in text
    assert "Learning without Forgetting (Li" not in text  # no such run here


def test_it_shows_curves_matrices_both_panels_and_the_losses_of_each_run(three):
    page = Page(three)
    titles = [
        "Recall@1 after each task",
        "task: search among the test images of the query",
        "seen: search among the test images of all tasks",
        "Head accuracy",
        "Head accuracy and Recall@1 on task 0",
    ]
    assert all(title in page.text for title in titles)
    figures = page.figures()
    assert len(figures) == 5 + 3
    curves = figures[0]["wide"]["data"]
    assert [(line["name"], line["y"]) for line in curves] == [
        (name, [0.875, 0.8125, 0.75]) for name in ("finetune", "csd", "joint")
    ]
    assert figures[1]["wide"]["data"][0]["z"][2] == [0.625, 0.75, 0.875]
    assert figures[4]["wide"]["data"][0]["y"] == [1.0, 0.0, 0.0]
    assert len(figures[4]["wide"]["data"]) == 6


def test_nothing_comes_from_the_network(three):
    page = Page(three)
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"src", "href", "srcset", "data", "action", "poster"}
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "img", "object", "embed", "base", "form"}
    assert "://" not in page.source
    assert "url(" not in page.source
    assert "@import" not in page.source
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy  # a browser refuses what a later edit may overlook


def test_what_users_name_is_escaped(tmp_path):
    tasks = [[NASTY, "b"], ["\ud800", "c"]]
    run = make_run(tmp_path / "run", method=NASTY, tasks=tasks, learnt=2, dataset=NASTY, source_crc32="0")
    page = report([run], tmp_path)
    assert "img" not in {tag for tag, _ in page.tags}
    assert len([tag for tag, _ in page.tags if tag == "script"]) == len(page.figures()) + 2
    assert f"The 4 classes of {NASTY} arrive in 2 tasks" in page.text
    assert "onerror" not in {name for _, attributes in page.tags for name in attributes}


def test_an_unfinished_run_is_shown_as_such(tmp_path):
    half = make_run(tmp_path / "half", method="lwf", learnt=2)
    text = report([make_run(tmp_path / "whole"), half], tmp_path).text
    assert "csd: after task 2 all features point the same way (collapse)" in text
    assert "lwf: after task" not in text
    assert "lwf 2 of 3 tasks learnt 0.812 0.125 0.500 0.000 4.0" in text
    assert "csd 0.750" in text


def test_after_one_task_nothing_can_be_forgotten_yet(tmp_path):
    text = report([make_run(tmp_path / "run", tasks=[["a", "b", "c"]], learnt=1)], tmp_path).text
    assert "The 3 classes of toy arrive in 1 task of 3 classes." in text
    assert "csd 0.875 – 1.000 1.000 2.0" in text


def test_seeds_have_their_own_rows_and_names(tmp_path):
    runs = [make_run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    text = report(runs, tmp_path).text
    assert "csd (seed 0) 0.750" in text
    assert "csd (seed 1) 0.750" in text
    assert "different orders" not in text


def test_other_orders_of_the_classes_are_noted(tmp_path):
    tasks = [["a"], ["b", "c"]], [["c"], ["b", "a"]]
    runs = [make_run(tmp_path / str(seed), seed=seed, tasks=tasks[seed], learnt=2) for seed in (0, 1)]
    text = report(runs, tmp_path).text
    assert "The runs learn the classes in different orders" in text
    assert "in 2 tasks of 1 to 2 classes." in text


def test_labels_tell_runs_apart(tmp_path):
    def labels(*names_methods_seeds):
        return run_labels([make_run(tmp_path / n, method=m, seed=s) for n, m, s in names_methods_seeds])

    assert labels(("a", "csd", 0), ("b", "lwf", 0)) == ["csd", "lwf"]
    assert labels(("c", "csd", 0), ("d", "csd", 1), ("e", "lwf", 0)) == ["csd (seed 0)", "csd (seed 1)", "lwf"]
    assert labels(("f", "csd", 0), ("g", "csd", 0)) == ["csd (f)", "csd (g)"]
    assert len(set(labels(("h/x", "csd", 0), ("i/x", "csd", 0)))) == 2


def test_what_cannot_be_reported(tmp_path):
    first = make_run(tmp_path / "first")
    out = tmp_path / "report.html"
    with pytest.raises(ValueError, match="no run to report"):
        write_report([], out)
    with pytest.raises(ValueError, match="fresh has not finished its first task"):
        write_report([first, make_run(tmp_path / "fresh", learnt=0)], out)
    with pytest.raises(ValueError, match="first is given twice"):
        write_report([first, Run.load(tmp_path / "first")], out)
    with pytest.raises(ValueError, match=r"other and .*first have different data: other with fingerprint 1"):
        write_report([first, make_run(tmp_path / "other", dataset="other", fingerprint="1")], out)
    with pytest.raises(ValueError, match=r"different tasks: 3 \+ 3 classes, and 2 \+ 2 \+ 2 classes"):
        write_report([first, make_run(tmp_path / "two", tasks=[["a", "b", "c"], ["d", "e", "f"]], learnt=2)], out)
    assert not out.exists()


def test_what_runs_have_in_common_is_said_once(tmp_path):
    runs = [make_run(tmp_path / str(seed), method=f"m{seed}", seed=seed) for seed in (3, 4)]
    page = report(runs, tmp_path)
    assert '<th scope="row">seed</th><td>3</td><td>4</td>' in page.source
    assert '<th scope="row">depth</th><td colspan="2">8</td>' in page.source
    assert '<th scope="row">torch</th><td colspan="2">2.11.0</td>' in page.source
    assert '<th scope="row">task 1</th><td colspan="2">c, d</td>' in page.source


def test_a_run_that_was_trained(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 1, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.arange(32) % 4
    data = csd.Dataset("noise", images, labels, images[:16], labels[:16], ("a", "b", "c", "d"))
    config = csd.Config(epochs=1, later_epochs=1, crop_padding=2)
    run = csd.train(csd.split(data, 2), csd.methods.csd, config, out=tmp_path / "run", progress=False)
    page = report([run], tmp_path)
    assert f"csd {run.metrics['summary']['recall_at_1']:.3f}" in page.text
    assert {line["name"] for line in page.figures()[-1]["wide"]["data"]} == {"ce", "triplet", "kd", "csd"}


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_draws_every_figure_and_asks_the_network_for_nothing(three, width):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": width, "height": 900})
        requests, problems = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(three.as_uri())
        page.wait_for_selector("figure:last-of-type .drawing svg.main-svg")
        assert page.locator("figure").count() == 5 + 3
        assert page.evaluate("[...document.querySelectorAll('.drawing')].every(d => d.querySelector('svg.main-svg'))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert requests == [three.as_uri()]
        assert problems == []
