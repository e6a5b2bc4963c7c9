"""The reports: that they say what the rows say, stand alone, and come out the same each time."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ser_zoo.cli import main
from ser_zoo.errors import RunError, SERZooError
from ser_zoo.evaluation import pool, read_result
from ser_zoo.evaluation.result import SHARED
from ser_zoo.leaderboard import report
from ser_zoo.leaderboard.aggregate import tables
from ser_zoo.leaderboard.report import BEGIN, DASH, END, update_readme, write_report
from ser_zoo.leaderboard.results import read_entries
from tests.leaderboard.rows import SEARCH, write_curves, write_entry, write_profile, write_robustness


class Page(HTMLParser):
    """What a test asks of a page: ids, links, what is loaded, tables as rows of texts, and whether its elements close."""

    VOID = ("meta", "link", "br", "hr", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.sorted_by: list[str] = []  # what script.js takes of the cells of numbers in tables that can be sorted
        self.sortable = self.number = False
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if tag == "a" else []
        self.loaded += [value or "" for name, value in attrs if name in ("src", "srcset", "data", "poster")]
        self.loaded += [values["href"] or ""] if "href" in values and tag in ("link", "use", "image") else []
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
            self.sortable = "sortable" in (values.get("class") or "")
        elif tag == "tbody":
            self.sortable &= values.get("class") != "references"  # these stay below
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.number = tag == "td" and self.sortable and "number" in (values.get("class") or "")
            if self.number and "data-sort" in values:
                self.sorted_by.append(values["data-sort"] or "")
                self.number = False
        elif tag in ("h2", "h3"):
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "td" and self.number:
            self.sorted_by.append(self.tables[-1][-1][-1])

    def handle_data(self, data: str) -> None:
        if any(tag in ("td", "th") for tag in self.open):
            self.tables[-1][-1][-1] = " ".join(f"{self.tables[-1][-1][-1]} {data}".split())
        elif self.open and self.open[-1] in ("h2", "h3"):
            self.headings[-1] += data


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that a report can show."""
    root = tmp_path_factory.mktemp("benchmarks") / "results"
    for model, right in (("probe", 0.8), ("cross_attn", 0.81)):
        for seed in (1, 2):
            for path in write_entry(root, model, right, seed, calibrated=True):
                write_robustness(path)
                write_curves(path)
        write_profile(root / model / "seed-1" / "fold-1" / "result.json", model, len(model))
    write_entry(root, "ecapa", 0.6, folds=[1, 2, 5])
    write_entry(root / "honest", "cnn_attn", 0.5)
    write_entry(root / "leaking", "cnn_attn", 0.97, folds=range(1, 2), protocol={"name": "as_cnn_attn"})
    write_entry(root / "made", "probe", 0.9, synthetic=True, config={"model": {"width": 9}})
    return root


@pytest.fixture(scope="module")
def output(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    assert [path.name for path in write_report(results, folder)] == [
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.html",
    ]
    return folder


@pytest.fixture(scope="module")
def text(output: Path) -> str:
    return (output / "leaderboard.html").read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_same_rows_give_the_same_bytes(results: Path, output: Path, tmp_path: Path) -> None:
    for path in write_report(results, tmp_path):
        assert path.read_bytes() == (output / path.name).read_bytes()


def test_the_page_loads_nothing(page: Page, text: str) -> None:
    assert all(target.startswith(("data:,", "#")) for target in page.loaded)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "fetch(" not in text


def test_ids_are_unique_and_every_inner_link_has_its_target(page: Page) -> None:
    assert len(set(page.ids)) == len(page.ids)
    inner = [link[1:] for link in page.links if link.startswith("#")]
    assert inner
    assert set(inner) <= set(page.ids)


def test_no_place_of_this_machine_is_in_a_report(results: Path, output: Path) -> None:
    for path in output.iterdir():
        assert str(results) not in path.read_text()
        assert str(output) not in path.read_text()


def test_the_numbers_are_those_of_the_rows(results: Path, output: Path, page: Page) -> None:
    rows = [read_result(path) for path in sorted((results / "honest").rglob("result.json"))]
    ua, wa = (pool(rows)["pooled"][name] for name in ("ua", "wa"))
    with (output / "leaderboard.csv").open() as file:
        line = next(line for line in csv.DictReader(file) if line["model"] == "cnn_attn" and line["kind"] == "honest")
    assert float(line["ua"]) == pytest.approx(ua, abs=1e-6)
    assert float(line["wa"]) == pytest.approx(wa, abs=1e-6)
    assert (line["folds"], line["folds_expected"], line["seeds"]) == ("10", "10", "1")
    shown = next(row for row in page.tables[0] if row[1] == "cnn_attn")
    assert shown[2].startswith(f"{100 * ua:.1f} [")
    assert shown[3] == f"{100 * wa:.1f}"
    assert f"| cnn_attn | {DASH} | 1,008 | {100 * ua:.1f} [" in (output / "leaderboard.md").read_text()


def test_columns_hold_what_they_are_named_by(results: Path, output: Path) -> None:
    with (output / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    board = tables(read_entries(results))
    lines = [pair for table in board for pair in table.standing_of]
    for row, (line, standing) in zip(rows, lines, strict=True):
        compared = None if standing is None else standing.comparison
        expected = {SHARED: line.shared, "ece": line.calibration.ece_before, "ece_at_temperature": line.calibration.ece_after}
        intervals = {**line.scores, **({} if compared is None else {"behind_first": compared})}
        for name, interval in intervals.items():
            expected |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        for name, over_seeds in line.moments.over_seeds.items():
            over_folds = line.moments.over_folds[name]
            expected |= {f"{name}_fold_mean": over_folds.mean, f"{name}_fold_deviation": over_folds.deviation}
            expected |= {f"{name}_seed_deviation": over_seeds.deviation}
        for name, value in expected.items():
            assert row[name] == ("" if value is None else f"{value:.6f}"), name


def test_what_the_rows_took_is_their_own_sum(results: Path, output: Path, text: str) -> None:
    rows = [read_result(path) for path in sorted(results.rglob("result.json"))]
    shown = int(re.search(r"from (\d+) stored rows", text)[1])  # type: ignore[index]
    seconds = [row["durations"]["fit"] + row["durations"]["test"] for row in rows]
    assert shown == len(rows)
    hours = f"{sum(seconds) / 3600:.1f}"
    assert f"took {hours} hours, one after the other" in text
    assert f"took\n{hours} hours, one after the other" in (output / "leaderboard.md").read_text()


def test_the_first_of_a_tie_is_no_winner(page: Page, output: Path) -> None:
    heading, first, second, third, *_ = page.tables[0]
    assert heading[0] == "#"
    assert [first[0], second[0], third[0]] == ["1=", "1=", "3"]
    assert "first, tied with 1" in first
    assert any(cell.endswith("tied") for cell in second)
    assert "There is no winner" in (output / "leaderboard.md").read_text()


def test_incomplete_lines_are_marked_and_not_ranked(page: Page) -> None:
    row = next(row for row in page.tables[0] if row[1].startswith("ecapa"))
    assert row[0] == "not ranked"
    assert row[1] == "ecapa incomplete: seed 1: 3 of 10 folds"


def test_lines_of_one_model_are_told_apart_by_their_encoder(tmp_path: Path) -> None:
    for name, right in (("whisper-base", 0.8), ("whisper-tiny", 0.6)):
        write_entry(tmp_path / "results" / name, "probe", right, encoder={"name": name})
    write_report(tmp_path / "results", tmp_path)
    _, *lines = Page((tmp_path / "leaderboard.html").read_text()).tables[0]
    assert [line[1] for line in lines[:2]] == ["probe whisper-base", "probe whisper-tiny"]


def test_kinds_stand_apart_and_are_named(page: Page, output: Path) -> None:
    honest = next(place for place, name in enumerate(page.headings) if name == "emo_db, loso10")
    leaking = page.headings.index("emo_db, as_cnn_attn")
    made = page.headings.index("SYNTHETIC: emo_db, loso10")
    assert honest < page.headings.index("As published: with the leaks of a paper") < leaking < made
    assert [row[1] for row in page.tables[0] if "cnn_attn" in row[1]] == ["cnn_attn"]
    assert "### SYNTHETIC: emo_db, loso10" in (output / "leaderboard.md").read_text()


def test_published_figures_stand_below_the_rows_of_their_corpus(page: Page) -> None:
    row = next(row for row in page.tables[0] if row[1] == "Whisper large v3")
    assert row[2:5] == ["91.26", "92.43", "91.84"]
    assert "SPEAKER-DEPENDENT" in row[5]
    assert "7 classes, 4 here" in row[5]


def test_a_claim_stands_beside_what_is_left_of_it(text: str, page: Page) -> None:
    claims = next(table for table in page.tables if table[0][0] == "corpus")
    of_cnn_attn = claims[next(place for place, row in enumerate(claims) if row[0].startswith("cnn_attn")) :]
    _, claimed, repeated, honest = next(row for row in of_cnn_attn if row[0] == "emo_db")
    assert claimed == "WA 99.53 7 classes, as_cnn_attn"
    assert "as_cnn_attn, 4 classes; " in repeated
    assert "100.0 % of the test rows have their utterance in training" in repeated
    assert "the repeated network and schedule" in honest
    assert next(row for row in of_cnn_attn if row[0] == "savee")[1:] == ["WA 97.49 7 classes", "not repeated", "not run"]
    assert "a file becomes several rows" in text


def test_what_lies_beside_the_rows_is_drawn(text: str) -> None:
    for title in (
        "UA over trained parameters",
        "UA over ms for 3 s of audio",
        "UA under noise",
        "Learning curves",
        "Reliability",
    ):
        assert f'aria-label="{title}' in text
    assert "white noise at 0 dB SNR" in text
    assert "currentColor" in text
    assert "#010203" not in text


def test_points_lie_at_the_trained_parameters(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[float]] = {}
    monkeypatch.setattr(
        report.figures, "pareto", lambda points, title, name: drawn.update({title: [point[0] for point in points]})
    )
    table = tables(read_entries(results))[0]
    report.pareto_figures(table)
    assert drawn["trained parameters"] == [1000 + len(line.first.model) for line in table.lines if line.complete]


def test_a_bar_begins_and_ends_with_the_range() -> None:
    assert [report.place(value, (0.5, 0.9)) for value in (0.5, 0.6, 0.9)] == [0.0, 25.0, 100.0]


@pytest.mark.parametrize(
    ("scored", "heard"),
    [
        ([], "No test speaker was among them."),
        (["08"], "Of 10 of 10 rows test speakers were among those validation speakers."),
        (None, "It was on another corpus."),
    ],
)
def test_a_search_stands_with_its_budget_and_whom_it_heard(scored: list[str] | None, heard: str, tmp_path: Path) -> None:
    write_entry(tmp_path, search={**SEARCH, "test_speakers_validated": scored})
    write_report(tmp_path, tmp_path)
    text = (tmp_path / "leaderboard.html").read_text()
    assert (
        "20 trials (15 finished, 4 pruned, 1 failed; bayes) to maximize val/ua on the validation speakers of folds 1, 2" in text
    )
    assert f"the best has 0.8750. {heard}" in text
    assert "&#34;max&#34;: 0.1" in text


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    write_entry(tmp_path / "results", config={"model": {"note": "</pre><script>alert(1)</script>"}})
    write_report(tmp_path / "results", tmp_path)
    text = (tmp_path / "leaderboard.html").read_text()
    assert "<script>alert" not in text
    Page(text)


def test_names_cannot_break_a_table_of_markdown_or_a_picture(tmp_path: Path) -> None:
    for number, name in enumerate(("a|b", "<i>", r"$\no$")):
        write_entry(tmp_path / "results" / str(number), "probe", 0.5 + number / 10, encoder={"name": name})
    write_report(tmp_path / "results", tmp_path)
    lines = (tmp_path / "leaderboard.md").read_text().splitlines()
    begin = lines.index("| # | model | encoder | trained parameters | UA, % | WA, % | macro-F1, % | behind the first, UA |")
    cells = [re.split(r"(?<!\\)\|", line) for line in lines[begin : begin + 5]]
    assert {len(row) for row in cells} == {10}
    assert {row[3] for row in cells[2:]} == {r" a\|b ", " &lt;i> ", r" $\no$ "}
    assert r"probe ($\no$)</text>" in (tmp_path / "leaderboard.html").read_text()


def test_tables_of_other_classes_have_places_and_certificates_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry(tmp_path / "results" / "a", "probe")
    monkeypatch.setattr("tests.leaderboard.rows.LABELS", ["a", "b", "c", "d"])  # as another table of csv may have them
    write_entry(tmp_path / "results" / "b", "probe")
    write_report(tmp_path / "results", tmp_path)
    ids = Page((tmp_path / "leaderboard.html").read_text()).ids
    assert len(set(ids)) == len(ids)
    assert len(report.Content(tmp_path / "results").certificates) == 2


def test_columns_of_numbers_are_sorted_as_numbers(page: Page) -> None:
    assert page.sorted_by
    assert [text for text in page.sorted_by if text and not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text)] == []


def test_changes_that_only_some_lines_were_measured_under_are_all_shown(tmp_path: Path) -> None:
    for model, right in (("probe", 0.8), ("ecapa", 0.6)):
        for path in write_entry(tmp_path / "results", model, right):
            write_robustness(path)
            if model == "probe":  # which comes first
                measured = json.loads((file := path.with_name("robustness.json")).read_text())
                measured["perturbations"] = {"telephone": measured["perturbations"]["telephone"]}
                file.write_text(json.dumps(measured))
    write_report(tmp_path / "results", tmp_path)
    page = Page((tmp_path / "leaderboard.html").read_text())
    table = next(table for table in page.tables if table[0][0] == "change")
    assert [row[0] for row in table[1:]] == ["none", "telephone", "white noise at 20 dB SNR", "white noise at 0 dB SNR"]
    assert table[3][1] == "not measured"


def test_rows_are_held_against_the_certificate_of_their_protocol(tmp_path: Path) -> None:
    folds = [{"fold": str(fold), "hash": f"{fold:012}", "sides": {}, "findings": []} for fold in range(1, 11)]
    (probe, *_) = write_entry(tmp_path / "results", protocol={"certificate": f"{1:012}"}, folds=[1])
    write_entry(tmp_path / "results", "cta_rnn", protocol={"certificate": f"{9:012}"}, folds=[1])
    row = read_result(probe)
    certificate = {"hash": "c" * 12, "corpus": "emo_db", "labels": row["labels"], "passes": True, "folds": folds}
    certificate["protocol"] = {"name": "loso10", "version": 1, "hash": row["protocol"]["hash"]}
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "emo_db-loso10.json").write_text(json.dumps(certificate))
    write_report(tmp_path / "results", tmp_path)
    text = (tmp_path / "leaderboard.html").read_text()
    assert "All folds name the certificate cccccccccccc." in text
    assert "NOT the certificate above: fold 1 was run on other utterances." in text


def test_learning_curves_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    (path, *_) = write_entry(tmp_path / "results", folds=[1])
    path.with_name("metrics.csv").write_text("epoch,val/ua\nfirst,0.5\n")
    with pytest.raises(RunError, match="Cannot read the learning curves"):
        write_report(tmp_path / "results", tmp_path)
    assert not (tmp_path / "leaderboard.html").exists()


def test_claims_tell_two_runs_of_one_architecture_apart(tmp_path: Path) -> None:
    results, readme = tmp_path / "results", tmp_path / "README.md"
    for epochs in (8, 30):
        write_entry(results / str(epochs), "cross_attn", config={"trainer": {"max_epochs": epochs}})
    write_report(results, tmp_path)
    readme.write_text(f"{BEGIN}\n{END}\n")
    update_readme(readme, results)
    for text in (readme.read_text(), (tmp_path / "leaderboard.md").read_text()):
        claims = text.partition("| claimed |")[2]
        assert all(f"max_epochs {epochs})" in claims for epochs in (8, 30))


def test_every_report_says_what_an_honest_protocol_declares(tmp_path: Path) -> None:
    results, readme = tmp_path / "results", tmp_path / "README.md"
    write_entry(results, corpus="ravdess", protocol={"name": "emobox_utterances"}, folds=range(1, 7))
    write_report(results, tmp_path)
    readme.write_text(f"{BEGIN}\n{END}\n")
    update_readme(readme, results)
    for text in (readme.read_text(), (tmp_path / "leaderboard.md").read_text()):
        assert "; declared: validation speaker. " in text
    assert "Declared leaks: validation speaker." in (tmp_path / "leaderboard.html").read_text()


def test_a_readme_gets_its_tables_between_the_markers_and_goes_stale(tmp_path: Path) -> None:
    results, readme = tmp_path / "results", tmp_path / "README.md"
    write_entry(results)
    readme.write_text(f"before\n\n{BEGIN}\nwhat was there\n{END}\n\nafter\n")
    with pytest.raises(RunError, match=r"not those of the rows .*ser-zoo leaderboard report .* --readme"):
        update_readme(readme, results, check=True)
    assert "what was there" in readme.read_text()
    update_readme(readme, results)
    text = readme.read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\n\nafter\n")
    assert "| alone | probe |" in text
    assert "what was there" not in text
    update_readme(readme, results, check=True)
    write_entry(results, "cta_rnn", 0.3)
    with pytest.raises(RunError, match="not those of the rows"):
        update_readme(readme, results, check=True)


def test_reports_go_to_the_folder_that_is_named_and_a_check_writes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_entry(tmp_path / "rows", "probe")
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(["leaderboard", "report", str(tmp_path / "rows"), f"--readme={readme}", "--check"]) == 1
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(SystemExit):
        main(["leaderboard", "report", str(tmp_path / "rows"), "--check"])
    assert "--check needs --readme" in capsys.readouterr().err
    assert main(["leaderboard", "report", str(tmp_path / "rows"), f"--output={tmp_path / 'page'}"]) == 0
    assert {path.parent for path in tmp_path.rglob("leaderboard.*")} == {tmp_path / "page"}


@pytest.mark.parametrize("text", ["nothing", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"])
def test_a_readme_without_its_markers_is_refused(tmp_path: Path, text: str) -> None:
    write_entry(tmp_path / "results", folds=[1])
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(RunError, match="has not one line"):
        update_readme(tmp_path / "README.md", tmp_path / "results")
    assert (tmp_path / "README.md").read_text() == text


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None if name == "jinja2" else True)
    with pytest.raises(SERZooError, match=r"need jinja2, .*pip install 'ser-zoo\[report\]'"):
        write_report(tmp_path, tmp_path)
