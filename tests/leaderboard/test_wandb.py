"""The W&B report: its content is built from rows without a network; saving it is left to a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ser_zoo.cli import main
from ser_zoo.leaderboard import wandb as dashboard
from ser_zoo.leaderboard.aggregate import tables
from ser_zoo.leaderboard.results import read_entries
from tests.leaderboard.rows import write_entry

wandb = pytest.importorskip("wandb")
reports = pytest.importorskip("wandb_workspaces.reports.v2")
pytest.importorskip("scipy")


pytestmark = pytest.mark.usefixtures("nobody_is_logged_in")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_entry(folder, "cta_rnn", right=0.9)
    write_entry(folder, "probe", right=0.4)
    write_entry(folder, "cnn_attn", right=0.8, corpus="demo", synthetic=True, protocol={"name": "pairs4"})
    return folder


def content(results: Path) -> list[Any]:
    return list(dashboard.blocks(tables(read_entries(results))))


def test_every_table_of_the_rows_is_a_section_below_the_heading_of_its_kind(results: Path) -> None:
    headings = [block.text for block in content(results) if isinstance(block, reports.H1 | reports.H2)]
    assert headings == [
        "Speaker-independent",
        "emo_db, loso10, 4 classes",
        "SYNTHETIC: speech that no person spoke",
        "demo, pairs4, 4 classes",
    ]


def test_the_tables_hold_the_numbers_of_the_rows(results: Path) -> None:
    made = tables(read_entries(results))
    honest, synthetic = (block.text for block in content(results) if isinstance(block, reports.MarkdownBlock))
    for line in made[0].lines:
        (cells,) = [row.split(" | ") for row in honest.splitlines() if f" {line.name} |" in row]
        assert cells[4].startswith(f"{100 * line.scores['ua'].value:.1f} [")
        assert cells[5] == f"{100 * line.scores['wa'].value:.1f}"
    assert "| 1 | cta_rnn |" in honest
    assert "cta_rnn is ahead of all others" in honest
    assert "SYNTHETIC |" in synthetic
    assert "| # |" not in synthetic
    assert "ahead" not in synthetic


def test_panels_show_the_runs_of_their_table_only(results: Path) -> None:
    honest, synthetic = (block for block in content(results) if isinstance(block, reports.PanelGrid))
    assert honest.runsets[0].filters == "Metric(\"Group\") in ['cta_rnn-emo_db-loso10', 'probe-emo_db-loso10']"
    assert synthetic.runsets[0].filters == "Metric(\"Group\") in ['cnn_attn-demo-pairs4']"
    assert {"test/predictions", "ua"} <= {
        *(panel.table_name for panel in honest.panels if isinstance(panel, reports.WeavePanelSummaryTable)),
        *(metric for panel in honest.panels if isinstance(panel, reports.BarPlot) for metric in panel.metrics),
    }


def test_the_library_takes_the_content(results: Path) -> None:
    report = reports.Report("ser-zoo", entity="somebody", blocks=content(results))
    assert "is ahead of all others" in report._to_model().spec.model_dump_json()


def test_the_report_is_saved_under_project_and_title(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved: list[Any] = []
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(reports.Report, "save", lambda report: saved.append(report))
    monkeypatch.setattr(reports.Report, "url", "https://reports.example/1")
    assert main(["leaderboard", "wandb", str(results), "--entity=somebody", "--project=mine", "--title=All of it"]) == 0
    assert (saved[0].entity, saved[0].project, saved[0].title) == ("somebody", "mine", "All of it")
    assert len(saved[0].blocks) == len(content(results))
    assert "https://reports.example/1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "arguments", "project"),
    [(None, [], "ser-zoo"), ("theirs", [], "theirs"), ("theirs", ["--project=mine"], "mine")],
)
def test_the_project_is_the_one_named_else_that_of_the_environment(
    variable: str | None, arguments: list[str], project: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    if variable:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    monkeypatch.setattr(dashboard, "write_wandb", lambda _, project, *more: asked.append(project))
    assert main(["leaderboard", "wandb", str(results), *arguments]) == 0
    assert asked == [project]


def test_an_earlier_report_is_replaced(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = reports.Report("mine", entity="somebody", title="old", blocks=[reports.P("old")])
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(reports.Report, "save", lambda _: None)
    monkeypatch.setattr(reports.Report, "url", "https://reports.example/1")
    monkeypatch.setattr(reports.Report, "from_url", lambda url: earlier if url == "https://reports.example/1" else None)
    assert main(["leaderboard", "wandb", str(results), "--url=https://reports.example/1"]) == 0
    assert earlier.title == "ser-zoo leaderboard"
    assert len(earlier.blocks) == len(content(results))


def test_a_refusal_is_explained(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(reports.Report, "save", refuse)
    assert main(["leaderboard", "wandb", str(results), "--entity=somebody"]) == 1
    assert "did not take the report: no route to host" in capsys.readouterr().err


def test_without_a_login_nothing_is_asked(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "wandb", str(results)]) == 1
    assert "W&B is offline here" in capsys.readouterr().err


def test_a_missing_package_is_named(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dashboard, "find_spec", lambda name: None if name == "wandb_workspaces" else name)
    assert main(["leaderboard", "wandb", str(results)]) == 1
    assert "needs wandb_workspaces, not installed here. Install what it needs: pip install 'ser-zoo[wandb,report]'" in (
        capsys.readouterr().err
    )


def test_a_folder_without_rows_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "wandb", str(tmp_path)]) == 1
    assert "No result.json below" in capsys.readouterr().err
