"""The report: one file about one or several runs, true of each, with nothing from the network."""

import contextlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plotly.offline import get_plotlyjs

import csd_edu as csd
from csd_edu import tuning
from csd_edu.comparison import Comparison, run_labels
from csd_edu.files import write_tensors
from csd_edu.metrics import summarize
from csd_edu.report import write_report
from csd_edu.runs import Run
from tests.browser import ARGUMENTS, ARTEFACTS, CHROMIUM
from tests.conftest import need

TASKS = [["a", "b"], ["c", "d"], ["e", "f"]]
DRIFT, QUERIES = "Where did the features go?", "Which queries are lost, which are kept?"
NASTY = "<img src=x onerror=alert(1)></script>"


def make_run(
    path: Path,
    *,
    method="csd",
    tasks=TASKS,
    learnt=3,
    seed=0,
    dataset="toy",
    fingerprint="00000000",
    images=True,
    **about,
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
    make_features(path, method, [len(task) for task in tasks], learnt, images)
    return Run.load(path)


def make_features(path: Path, method: str, sizes: list[int], learnt: int, images: bool, per_class: int = 6) -> None:
    """Write test images and features: classes of their own, in which noise drowns early tasks, less so under CSD."""
    labels = torch.arange(sum(sizes)).repeat_interleave(per_class)
    tasks = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[labels]
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (len(labels), 3, 8, 8), dtype=torch.uint8, generator=generator)
    write_tensors(
        path / "test.safetensors", {"labels": labels, "tasks": tasks, **({"images": pictures} if images else {})}
    )
    centres = torch.randn(sum(sizes), 8, generator=generator)
    noise = torch.Generator().manual_seed(zlib.crc32(method.encode()))
    for t in range(learnt):
        strength = 0.3 + (t - tasks).clamp(min=0) * (0.3 if method == "csd" else 0.7)
        features = centres[labels] + strength[:, None] * torch.randn(len(labels), 8, generator=noise)
        write_tensors(path / f"task-{t}.features.safetensors", {"features": features, "predictions": labels})


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
        """The figures' data, each in a wide version and what a narrow one changes."""
        parts = self.source.split('<script type="application/json">')[1:]
        return [json.loads(part.split("</script>")[0]) for part in parts]

    def titled(self, title: str) -> list[dict]:
        """Those of the figures whose title begins so."""
        titles = re.findall(r"<figcaption><h3>(?:<b>)?(.*?)</", self.source)
        return [figure for figure, text in zip(self.figures(), titles, strict=True) if text.startswith(title)]

    def panels(self) -> list[str]:
        """The runs that the map shows."""
        traces = self.titled("PCA map")[0]["wide"]["data"]
        return [trace["meta"]["run"] for trace in traces if trace["meta"]["role"] == "points"]

    def rows(self, heading: str) -> list[list[str]]:
        """The cells of the first table after a heading, row by row, without its head."""
        table = self.source.split(f"<h2>{heading}</h2>")[1].split("<table")[1].split("</table>")[0].split("</thead>")[1]
        rows = re.findall(r"<tr>(.*?)</tr>", table, flags=re.DOTALL)
        return [
            [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, flags=re.DOTALL)]
            for row in rows
        ]


@pytest.fixture
def no_charts(monkeypatch):
    """Charts are looked at in other tests, and take seconds to draw."""
    names = ("curves", "seen", "own", "head", "beside", "losses")
    monkeypatch.setattr("csd_edu.report._figures", lambda _: dict.fromkeys(names, ""))


def report(runs, tmp_path, maps=()) -> Page:
    return Page(write_report(runs, tmp_path / "out" / "report.html", maps=maps))


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Path:
    """A report about three methods."""
    folder = tmp_path_factory.mktemp("three")
    runs = [make_run(folder / name, method=name) for name in ("finetune", "csd", "joint")]
    return write_report(runs, folder / "deep" / "er" / "report.html", maps=("pca",))


def test_it_is_one_file_of_reasonable_size(three):
    assert [path.name for path in three.parent.iterdir()] == ["report.html"]
    assert 1e6 < three.stat().st_size < 8e6
    assert three.read_text(encoding="utf-8").count(get_plotlyjs()) == 1


def test_it_says_what_was_measured(three):
    text = Page(three).text
    assert "The 6 classes of toy arrive in 3 tasks of 2 classes." in text
    # after three tasks: R@1 .75, forgetting ((.875 - .625) + (.875 - .75)) / 2, head 1/3, of task 0 nothing, 3 × 2 s
    assert "csd as released: all weights 1 0.750 0.188 0.333 0.000 – 6.0" in text
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
    assert (
        len(figures) == 5 + 1 + 1 + 1 + 3 + 2 + 3
    )  # and the falls, a map, its matrices, strips of lost and kept queries
    curves = figures[0]["wide"]["data"]
    assert [(line["name"], line["y"]) for line in curves] == [
        (name, [0.875, 0.8125, 0.75]) for name in ("finetune", "csd", "joint")
    ]
    assert figures[2]["wide"]["data"][0]["z"][2] == [0.625, 0.75, 0.875]
    assert figures[5]["wide"]["data"][0]["y"] == [1.0, 0.0, 0.0]
    assert len(figures[5]["wide"]["data"]) == 6


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
    tasks = [[NASTY, "b"], ["\ud800", "c"], ["d"]]
    run = make_run(tmp_path / "run", method=NASTY, tasks=tasks, dataset=NASTY, source_crc32="0", images=False)
    page = report([run], tmp_path, ("pca",))
    assert "img" not in {tag for tag, _ in page.tags}
    assert len([tag for tag, _ in page.tags if tag == "script"]) == len(page.figures()) + 2
    assert f"The 5 classes of {NASTY} arrive in 3 tasks" in page.text
    figures = json.dumps([page.titled("PCA map"), page.titled("Lost"), page.titled("Kept")])
    assert "<img" not in figures
    assert "&lt;img" in figures
    assert "onerror" not in {name for _, attributes in page.tags for name in attributes}


@pytest.mark.usefixtures("no_charts")
def test_an_unfinished_run_is_shown_as_such(tmp_path):
    half = make_run(tmp_path / "half", method="lwf", learnt=2)
    text = report([make_run(tmp_path / "whole"), half], tmp_path).text
    assert "csd: after task 2 all features point the same way (collapse)" in text
    assert "lwf: after task" not in text
    assert "lwf 2 of 3 tasks learnt 0.812 0.125 0.500 0.000 – 4.0" in text
    assert "csd as released: all weights 1 0.750" in text


@pytest.mark.usefixtures("no_charts")
def test_after_one_task_nothing_can_be_forgotten_yet(tmp_path):
    page = report([make_run(tmp_path / "run", tasks=[["a", "b", "c"]], learnt=1)], tmp_path, ("pca",))
    assert "The 3 classes of toy arrive in 1 task of 3 classes." in page.text
    assert "csd as released: all weights 1 0.875 – 1.000 1.000 – 2.0" in page.text
    assert page.text.count("Only one task is learnt so far: nothing has moved, and nothing is lost yet.") == 2
    assert page.figures() == []


@pytest.mark.usefixtures("no_charts")
def test_seeds_have_their_own_rows_and_names(tmp_path):
    runs = [make_run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    text = report(runs, tmp_path).text
    assert "csd (seed 0) as released: all weights 1 0.750" in text
    assert "csd (seed 1) as released: all weights 1 0.750" in text
    assert "different orders" not in text


@pytest.mark.usefixtures("no_charts")
def test_other_orders_of_the_classes_are_noted_and_left_out_of_what_is_about_single_images(tmp_path):
    tasks = [["a"], ["b", "c"]], [["c"], ["b", "a"]]
    runs = [make_run(tmp_path / str(seed), seed=seed, tasks=tasks[seed % 2], learnt=2) for seed in (0, 1, 2)]
    page = report(runs, tmp_path, ("pca",))
    assert "The runs learn the classes in different orders" in page.text
    assert "in 2 tasks of 1 to 2 classes." in page.text
    assert page.text.count("Left out here: csd (seed 1), with the classes in another order.") == 2
    same = ["csd (seed 0)", "csd (seed 2)"]
    assert [row[0] for row in page.rows(DRIFT)] == [row[0] for row in page.rows(QUERIES)] == same
    assert page.panels() == same


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
    with pytest.raises(ValueError, match="there is no run; expected at least one"):
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


@pytest.mark.usefixtures("no_charts")
def test_what_runs_have_in_common_is_said_once(tmp_path):
    runs = [make_run(tmp_path / str(seed), method=f"m{seed}", seed=seed) for seed in (3, 4)]
    page = report(runs, tmp_path)
    assert '<th scope="row">seed</th><td>3</td><td>4</td>' in page.source
    assert '<th scope="row">network</th><td colspan="2">resnet8</td>' in page.source
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
    assert f"csd as released: all weights 1 {run.metrics['summary']['recall_at_1']:.3f}" in page.text
    assert {line["name"] for line in page.figures()[-1]["wide"]["data"]} == {"ce", "triplet", "kd", "csd"}


def runs_of(path: Path) -> dict[str, Run]:
    return {name: Run.load(path.parents[2] / name) for name in ("finetune", "csd", "joint")}


def test_drift_in_numbers_is_the_comparison_s(three):
    page, comparison = Page(three), Comparison(list(runs_of(three).values()))
    expected = []
    for name in comparison.runs:
        for row in comparison.drift_table(name)[:3]:  # pairs (0, 1), (0, 2), (1, 2)
            if row["before"] == 0:
                moved = row["class_mean_displacement"]
                farthest = max(moved, key=moved.get)
                numbers = [f"{row[key]:.3f}" for key in ("cka", "mean_displacement", "neighbor_overlap")]
                said = f"{comparison.classes[farthest]} {moved[farthest]:.3f}"
                expected.append([name] * (row["after"] == 1) + [str(row["after"]), *numbers, said])
    assert page.rows(DRIFT) == expected
    assert len(expected) == 6
    assert "on 36 of 36 test images, also of tasks still to come" in page.text
    assert "‖XᵀY‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F)" in page.text
    cka = page.titled("Feature drift: linear CKA")[0]["wide"]["data"][0]["z"]
    assert cka[0][2] == cka[2][0] == pytest.approx(comparison.drift_table("finetune")[1]["cka"])


def test_the_map_has_the_points_of_each_run_after_each_task(three):
    (figure,) = Page(three).titled("PCA map")
    maps = Comparison(list(runs_of(three).values())).maps("pca")
    assert [frame["name"] for frame in figure["wide"]["frames"]] == ["0", "1", "2"]
    assert figure["wide"]["layout"]["sliders"][0]["active"] == 2
    assert len(figure["wide"]["layout"]["updatemenus"][0]["buttons"]) == 2
    for name, made in maps.items():
        (place,) = (
            k
            for k, trace in enumerate(figure["wide"]["data"])
            if trace["meta"].get("role") == "points" and trace["meta"]["run"] == name
        )
        for t, frame in enumerate(figure["wide"]["frames"]):
            x = frame["data"][frame["traces"].index(place)]["x"]
            np.testing.assert_allclose(x, made.points[t, :, 0], atol=6e-4)
    # One below the other in a narrow place, with the same points.
    assert set(figure["narrow"]) == {"layout", "frames"}
    assert all(set(frame) == {"layout"} for frame in figure["narrow"]["frames"].values())


def test_lost_and_kept_queries_are_counted(three):
    comparison = Comparison(list(runs_of(three).values()))
    expected = []
    for name, run in comparison.runs.items():
        found = {}
        for t in range(3):  # by hand: the nearest other image among those of the tasks so far
            seen = (comparison.tasks <= t).nonzero()[:, 0]
            unit = torch.nn.functional.normalize(run.features(t)[seen], dim=1)
            nearest = (unit @ unit.T).fill_diagonal_(-2).argmax(dim=1)
            right = comparison.labels[seen[nearest]] == comparison.labels[seen]
            found[t] = dict(zip(seen.tolist(), right.tolist(), strict=True))
        pairs = [(found[int(task)][i], found[2][i]) for i, task in enumerate(comparison.tasks)]
        counts = [pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
        expected.append([name, *map(str, counts), "36"])
    assert Page(three).rows(QUERIES) == expected
    assert int(expected[0][2]) > int(expected[1][2]) > 0  # fine-tuning loses more than CSD, which loses some


def nearest_class(run: Run, query: int, after: int) -> int:
    """The class of the nearest other test image, among those of the tasks so far."""
    test, features = run.test(), run.features(after).numpy().astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similarity = features @ features[query]
    similarity[(test["tasks"].numpy() > after) | (np.arange(len(features)) == query)] = -np.inf
    return int(test["labels"][similarity.argmax()])


def test_queries_shown_as_lost_were_found_and_are_no_more(three):
    page, runs = Page(three), runs_of(three)
    test = runs["csd"].test()
    for title, in_the_end in (("Lost", False), ("Kept", True)):
        shown = page.titled(f"{title}: a query of task")
        assert len(shown) == {"Lost": 3, "Kept": 2}[title]
        for figure in shown:
            ids = figure["wide"]["data"][0]["customdata"]
            query = ids[0]
            task, label = int(test["tasks"][query]), int(test["labels"][query])
            assert task < 2
            assert nearest_class(runs["finetune"], query, task) == label
            assert (nearest_class(runs["finetune"], query, 2) == label) is in_the_end
            assert nearest_class(runs["csd"], query, task) == nearest_class(runs["csd"], query, 2) == label
            # query and eight results, for three runs, right after the task and in the end
            assert [ids[k] for k in range(0, len(ids), 9)] == [query] * 6
            assert len(ids) == 6 * 9
    assert re.search(r"Shown: 3 of \d+ queries lost by finetune but kept by csd, and 2 of \d+ queries kept", page.text)


def test_each_image_is_in_the_page_once_for_a_figure(three):
    for figure in Page(three).titled("Lost"):
        sources = [image["source"] for image in figure["wide"]["layout"]["images"]]
        assert len(sources) == 54
        assert len(figure["images"]) == len(set(figure["images"])) < 54
        assert set(sources) == set(range(len(figure["images"])))
        assert all(image.startswith("data:image/png;base64,") for image in figure["images"])
        assert len(figure["narrow"]["layout"]["images"]) == 6 * 4


@pytest.mark.usefixtures("no_charts")
def test_without_images_classes_are_named_instead(tmp_path):
    page = report([make_run(tmp_path / name, method=name, images=False) for name in ("finetune", "csd")], tmp_path)
    assert "The runs saved no images, so that names of classes stand for them." in page.text
    layout = page.titled("Lost")[0]["wide"]["layout"]
    assert not layout.get("images")
    assert sum("(task" in note["text"] for note in layout["annotations"]) == 4 * 9  # a caption in each cell


@pytest.mark.usefixtures("no_charts")
def test_an_unfinished_run_is_asked_about_the_tasks_it_has_learnt(tmp_path):
    runs = [make_run(tmp_path / "half", method="finetune", learnt=2), make_run(tmp_path / "whole")]
    page = report([*runs, make_run(tmp_path / "begun", method="lwf", learnt=1)], tmp_path, ("pca",))
    assert [row[-1] for row in page.rows(QUERIES)] == ["24", "36", "12"]
    assert [row[:2] for row in page.rows(DRIFT) if len(row) == 6] == [["finetune", "1"], ["csd", "1"]]  # no row for lwf
    for figure in page.titled("Kept"):
        assert len(figure["wide"]["data"][0]["customdata"]) == 9 * 5  # lwf learnt the query's task last


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_only_some_of_many_runs_are_drawn_but_all_are_counted(tmp_path):
    page = report([make_run(tmp_path / f"{k}", method=f"m{k}") for k in range(5)], tmp_path, ("pca",))
    assert page.text.count("Drawn for 3 of the runs: m0, m1, m2.") == 2
    assert [row[0] for row in page.rows(QUERIES)] == ["m0", "m1", "m2", "m3", "m4"]
    assert page.panels() == ["m0", "m1", "m2"]
    assert page.text.count("Press play, or move the slider") == 1
    notes = [note["text"] for figure in page.titled("Kept") for note in figure["wide"]["layout"]["annotations"]]
    names = {note.split(",")[0] for note in notes if "after" in note}
    assert names == {"m0", "m1", "m2"}


def test_an_unknown_map_is_refused_before_any_work(tmp_path):
    with pytest.raises(
        ValueError, match="there is no map 'tsne'; expected 'pca', 'umap', 'umap together', 'plane', or"
    ):
        write_report([make_run(tmp_path / "run")], tmp_path / "report.html", maps=("pca", "tsne"))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("no_charts")
def test_the_plane_comes_first_and_both_maps_are_drawn_unless_told_otherwise(tmp_path, monkeypatch):
    def quick(snapshots, **_):
        return replace(csd.maps.pca_map(snapshots), kind="umap")

    monkeypatch.setattr("csd_edu.maps.kept.umap_chain", quick)
    runs = [make_run(tmp_path / name, method=name) for name in ("joint", "finetune", "csd")]
    page = Page(write_report(runs, tmp_path / "report.html"))
    assert len(page.titled("PCA map")) == len(page.titled("UMAP map, snapshot by snapshot")) == 1
    assert "A PCA map shows the two widest directions only" in page.text
    assert "A UMAP of each snapshot shows who is near whom then" in page.text
    plane = page.figures()[0]
    assert plane in page.titled("What becomes of the classes that the first network told apart?")
    points = [trace["meta"] for trace in plane["wide"]["data"] if trace["meta"]["role"] == "points"]
    assert list(dict.fromkeys(meta["run"] for meta in points)) == ["finetune", "csd"]
    assert {meta["after"] for meta in points} == {0, 1, 2}
    assert not page.titled("UMAP map of all snapshots together")
    without = Page(write_report(runs, tmp_path / "report.html", maps=["pca"]))
    assert not without.titled("What becomes of the classes")


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    need(CHROMIUM, "no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


@contextlib.contextmanager
def opened(chromium, path: Path, width: int):
    """The page in a browser without a network, in which nothing may go wrong and nothing may be asked for."""
    problems = []

    def route(request):
        if not request.request.url.startswith(("file:", "data:", "blob:")):
            problems.append(f"asked for {request.request.url}")
        request.continue_()

    context = chromium.new_context(viewport={"width": width, "height": 900})
    context.set_offline(True)
    context.route("**/*", route)
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("figure:last-of-type .drawing svg.main-svg")
    yield page
    context.close()
    assert problems == []


@pytest.mark.slow
@pytest.mark.usefixtures("chromium", "no_charts")
def test_a_link_to_the_page_shows_its_first_picture(tmp_path, monkeypatch):
    runs = [make_run(tmp_path / name, method=name) for name in ("finetune", "csd", "joint")]
    page = write_report(runs, tmp_path / "page.html", maps=(), shared_at="https://example.org/kept/page.html")
    assert '<meta property="og:image" content="https://example.org/kept/page.png">' in page.read_text()
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 10
    monkeypatch.setattr("csd_edu.stills.find_browser", lambda: None)
    with pytest.warns(UserWarning, match="will show no picture: there is no Chromium or Chrome"):
        page = write_report(runs, tmp_path / "other.html", maps=(), shared_at="https://example.org")
    assert "og:image" not in page.read_text()
    assert not (tmp_path / "other.png").exists()
    with pytest.raises(ValueError, match=r"shared_at is 'page\.html'; expected an address"):
        write_report(runs, tmp_path / "third.html", maps=(), shared_at="page.html")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 700, 400])
def test_a_browser_draws_every_figure_and_asks_the_network_for_nothing(chromium, three, width):
    with opened(chromium, three, width) as page:
        assert page.locator("figure").count() == len(Page(three).figures())
        assert page.evaluate("[...document.querySelectorAll('.drawing')].every(d => d.querySelector('svg.main-svg'))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        strips = page.locator("figure", has=page.locator("h3", has_text="Lost")).first
        images = strips.locator("svg image")
        assert images.count() == 6 * (9 if width > 760 else 4)
        assert all(image.get_attribute("href").startswith("data:image/png") for image in images.all())
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        for name, heading in (("drift", DRIFT), ("queries", QUERIES)):
            section = page.locator("section", has=page.locator("h2", has_text=heading))
            section.screenshot(path=ARTEFACTS / f"report-{name}-{width}.png")


@pytest.mark.slow
def test_the_slider_moves_the_points_and_stays_where_it_is_when_the_window_changes(chromium, three):
    (figure,) = Page(three).titled("PCA map")
    frames = figure["wide"]["frames"]
    place = frames[0]["traces"][1]  # the points of the first run
    with opened(chromium, three, 1280) as page:
        drawing = page.locator("figure", has=page.locator("h3", has_text="PCA map")).locator(".drawing")

        def shown():
            return drawing.evaluate(
                "(gd, k) => [gd.data[k].x, gd.layout.sliders[0].active, gd.layout.annotations.map(a => a.text)]", place
            )

        def expected(t):
            return [frames[t]["data"][1]["x"], t, [note["text"] for note in frames[t]["layout"]["annotations"]]]

        assert shown() == expected(2)
        rail = drawing.locator(".slider-rail-touch-rect")
        rail.scroll_into_view_if_needed()
        box = rail.bounding_box()
        page.mouse.click(box["x"] + 4, box["y"] + box["height"] / 2)
        page.wait_for_function(
            "([gd, k, x]) => gd.data[k].x[0] === x", arg=[drawing.element_handle(), place, expected(0)[0][0]]
        )
        assert shown() == expected(0) != expected(2)
        for width in (1100, 600, 1280):  # the same version, the narrow one, and the wide one again
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("([gd, w]) => gd._fullLayout.width < w", arg=[drawing.element_handle(), width])
            assert shown() == expected(0)
        drawing.get_by_text("Play").first.click()
        page.wait_for_function(
            "([gd, k, x]) => gd.data[k].x[0] === x", arg=[drawing.element_handle(), place, expected(2)[0][0]]
        )


# ---- controls, tuned weights, and the falls in two parts


def tuned_runs(folder: Path) -> list[Run]:
    shipped = replace(tuning.shipped(), dataset="toy")
    shipped.write(folder)
    methods = {"lwf": shipped.methods["lwf"].chosen, "csd": None, "supcon": shipped.methods["supcon"].chosen}
    names = {"csd": "csd", "lwf": f"lwf(weight={methods['lwf']:g})"}
    runs = [make_run(folder / base, method=name) for base, name in names.items()]
    return [*runs, make_run(folder / "frozen", method="frozen")]


@pytest.mark.usefixtures("no_charts")
def test_the_grid_and_what_was_chosen_are_shown(tmp_path):
    runs = tuned_runs(tmp_path)
    page = report(runs, tmp_path)
    shipped = tuning.shipped()
    assert "csd as released: all weights 1" in page.text
    assert "lwf(weight=5) tuned" in page.text
    assert page.text.count("How the weights were chosen") == 1
    for search in shipped.methods.values():
        scores = search.grid[search.chosen]
        assert f"{sum(scores) / len(scores):.3f} ✓" in page.text
    assert page.source.count(" ✓</strong>") == len(shipped.methods)
    assert "no test image and no image of a later task is looked at" in page.text


@pytest.mark.usefixtures("no_charts")
def test_a_damaged_grid_is_a_sentence(tmp_path):
    runs = tuned_runs(tmp_path)
    (tmp_path / "tuning.json").write_text('{"dataset": "toy"')
    page = report(runs, tmp_path)
    assert "tuning.json can't be read" in page.text
    assert "<summary>How the weights were chosen" not in page.source


def test_forgetting_and_crowding_are_told_apart_and_the_frozen_network_says_how_much_the_gallery_takes(tmp_path):
    page = report(tuned_runs(tmp_path), tmp_path)
    bars = page.titled("What is left of what was learnt")[0]["wide"]["data"]
    assert [bar["name"] for bar in bars if bar["type"] == "bar"] == ["left", "crowding", "forgetting"]
    assert "is what a network that does not change (frozen) loses as well" in page.text
