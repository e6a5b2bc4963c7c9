"""The W&B report: its content is built from rows without a network; saving it is left to a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ser_zoo.cli import main
from ser_zoo.leaderboard import wandb as dashboard
from ser_zoo.leaderboard.aggregate import Table, tables
from ser_zoo.leaderboard.report import against, interval, percent
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
    made = {"corpus": "demo", "synthetic": True, "protocol": {"name": "pairs4"}}
    write_entry(folder, "cnn_attn", right=0.8, folds=range(1, 5), **made)
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


def cells_of(table: Table) -> tuple[list[str], dict[str, list[str]]]:
    """The columns of the rendered table, and the cells of each line by its model."""
    columns, _, *lines = (row[2:-2].split(" | ") for row in dashboard.markdown(table).splitlines() if row.startswith("|"))
    return columns, {line[columns.index("model")]: line for line in lines}


def test_every_column_holds_what_it_is_named_by(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_entry(tmp_path, "cta_rnn", right=0.9, seed=seed)
    write_entry(tmp_path, "probe", right=0.4)
    (table,) = tables(read_entries(tmp_path))
    columns, lines = cells_of(table)
    for line, standing in table.standing_of:
        assert standing is not None
        scores = line.scores
        assert dict(zip(columns, lines[line.name], strict=True)) == {
            "#": standing.rank,
            "model": line.name,
            "trained parameters": f"1,00{len(line.name)}",
            "seeds": "2" if line.name == "cta_rnn" else "1",
            "UA, %": f"{percent(scores['ua'].value)} {interval(scores['ua'])}",
            "WA, %": percent(scores["wa"].value),
            "macro-F1, %": percent(scores["macro_f1"].value),
            "behind the first, UA": against(standing, table),
        }


def test_a_line_without_all_its_folds_is_marked_and_not_ranked(tmp_path: Path) -> None:
    write_entry(tmp_path, "probe", folds=[1, 2, 5])
    columns, lines = cells_of(tables(read_entries(tmp_path))[0])
    (cells,) = lines.values()
    assert cells[1] == "probe **incomplete: seed 1: 3 of 10 folds**"
    assert (columns[-1], cells[-1]) == ("behind the first, UA", "not ranked")


def test_as_published_lines_say_how_much_of_their_test_stands_in_training(tmp_path: Path) -> None:
    write_entry(tmp_path, "cnn_attn", folds=[1], protocol={"name": "as_cnn_attn", "test_rows_with_utterance_in_training": 0.75})
    (table,) = tables(read_entries(tmp_path))
    columns, lines = cells_of(table)
    (cells,) = lines.values()
    assert (columns[0], cells[0]) == ("model", "cnn_attn")
    assert (columns[-1], cells[-1]) == ("test rows with their utterance in training", "75.0 %")
    assert f"Declared leaks: {', '.join(table.leaks)}." in dashboard.markdown(table)


def test_refits_have_a_table_that_says_so_and_panels_of_their_own_runs(tmp_path: Path) -> None:
    write_entry(tmp_path / "once", "probe")
    write_entry(tmp_path / "anew", "probe", config={"refit": True})
    once, anew = tables(read_entries(tmp_path))
    assert [table.refit for table in (once, anew)] == [False, True]
    assert ["Refit: " in dashboard.markdown(table) for table in (once, anew)] == [False, True]
    assert [dashboard.panels(table).runsets[0].filters for table in (once, anew)] == [
        "Metric(\"Group\") in ['probe-emo_db-loso10']",
        "Metric(\"Group\") in ['probe-emo_db-loso10-refit']",
    ]


def test_tables_of_one_kind_stand_below_one_heading(tmp_path: Path) -> None:
    write_entry(tmp_path, "probe")
    write_entry(tmp_path, "cta_rnn", config={"refit": True})
    assert [block.text for block in content(tmp_path) if isinstance(block, reports.H1)] == ["Speaker-independent"]


def test_a_name_cannot_break_the_table(tmp_path: Path) -> None:
    write_entry(tmp_path, "probe", encoder={"name": "tiny|base"})
    columns, lines = cells_of(tables(read_entries(tmp_path))[0])
    (cells,) = lines.values()
    assert len(cells) == len(columns)
    assert not any("|" in cell for cell in cells)


def test_curves_are_drawn_over_the_axis_that_the_tracker_logs_by(results: Path) -> None:
    grid = dashboard.panels(tables(read_entries(results))[0])
    lines = {panel.y[0]: panel for panel in grid.panels if isinstance(panel, reports.LinePlot)}
    assert {name: panel.x for name, panel in lines.items()} == {
        "val/ua": "trainer/global_step",
        "train/loss": "trainer/global_step",
    }
    grouped = [panel for panel in grid.panels if isinstance(panel, reports.LinePlot | reports.BarPlot)]
    assert {(panel.groupby, panel.groupby_aggfunc, panel.groupby_rangefunc) for panel in grouped} == {
        ("Group", "mean", "minmax")
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
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
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


def test_an_address_that_is_no_report_is_explained(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert main(["leaderboard", "wandb", str(results), "--url=https://reports.example/1"]) == 1
    assert "did not take the report: " in capsys.readouterr().err


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
