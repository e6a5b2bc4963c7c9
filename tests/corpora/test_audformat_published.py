"""Databases by the names under which they were published, from a repository in a folder, as no test uses the net."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from ser_zoo.cli import main
from ser_zoo.corpora import create_corpus
from ser_zoo.corpora.audformat_database import AudformatDatabase
from ser_zoo.data import SERDataModule
from ser_zoo.errors import CorpusError
from ser_zoo.evaluation import read_result
from tests.cli.commands import QUICK, SMALL_CNN
from tests.releases import write_tone

audb = pytest.importorskip("audb")
audformat = pytest.importorskip("audformat")

PEOPLE = ("anna", "ben", "cem", "dora")
EMOTIONS = ("anger", "joy")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository ``shelf``, in it ``toy`` in the versions 1.0.0 and 2.0.0, which has a recording less."""
    root = tmp_path_factory.mktemp("published")
    (root / "host" / "shelf").mkdir(parents=True)
    shelf = audb.Repository("shelf", str(root / "host"), "file-system")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDB_CACHE_ROOT", str(root / "cache"))
        patch.setenv("AUDB_SHARED_CACHE_ROOT", str(root / "shared"))
        patch.setattr(audb.config, "REPOSITORIES", [shelf])
        for version, people in (("1.0.0", PEOPLE), ("2.0.0", PEOPLE[:3])):
            write(root / version, people)
            audb.publish(str(root / version), version, shelf, previous_version=None, verbose=False)
    return root / "host"


def write(folder: Path, people: tuple[str, ...]) -> None:
    files = [f"wav/{name}_{emotion}.wav" for name in people for emotion in EMOTIONS]
    for number, file in enumerate([*files, "wav/silence.wav"]):
        write_tone(folder / file, 0, number)
    made = audformat.Database("toy")
    made.schemes["emotion"] = audformat.Scheme("str", labels=list(EMOTIONS))
    made.schemes["speaker"] = audformat.Scheme("str", labels={name: {"gender": "female"} for name in people})
    made["emotion"] = audformat.Table(audformat.filewise_index(files))
    made["emotion"]["emotion"] = audformat.Column(scheme_id="emotion")
    made["emotion"]["emotion"].set(list(EMOTIONS) * len(people))
    made["files"] = audformat.Table(audformat.filewise_index([*files, "wav/silence.wav"]))
    made["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    made["files"]["speaker"].set([Path(file).stem.split("_")[0] for file in files] + [None])
    made.save(str(folder))


@pytest.fixture(autouse=True)
def cache(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of audb, which knows that repository alone."""
    monkeypatch.setenv("AUDB_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.setenv("AUDB_SHARED_CACHE_ROOT", str(tmp_path / "shared"))
    monkeypatch.setattr(audb.config, "REPOSITORIES", [audb.Repository("shelf", str(host), "file-system")])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audb.config, "REPOSITORIES", [audb.Repository("shelf", "/nowhere", "file-system")])


def recordings(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*.wav")}


def test_naming_a_database_loads_its_tables_and_using_it_the_recordings_it_needs(cache: Path) -> None:
    corpus = create_corpus("audformat", "toy==1.0.0")
    assert (corpus.published, corpus.found(), corpus.total, corpus.labels) == ("toy==1.0.0", True, 8, ("anger", "joy"))
    assert corpus.root.is_relative_to(cache / "toy" / "1.0.0")
    assert recordings(cache) == set()
    rows = corpus.utterances()
    assert [(row.id, row.label, row.speaker, row.gender) for row in rows[:2]] == [
        ("wav/anna_anger", "anger", "anna", "female"),
        ("wav/anna_joy", "joy", "anna", "female"),
    ]
    assert recordings(cache) == {row.path.name for row in rows}  # and not silence.wav, which has no emotion
    assert not list(corpus.root.rglob("*.pkl"))


def test_the_latest_version_is_taken_unless_one_is_named() -> None:
    assert create_corpus("audformat", "toy").published == "toy==2.0.0"
    assert create_corpus("audformat", "toy").total == 6
    chosen = create_corpus("audformat", "toy==1.0.0?emotion=emotion/emotion")
    assert (chosen.published, chosen.total, bool(chosen.part)) == ("toy==1.0.0", 8, True)


def test_a_folder_of_that_name_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "toy", PEOPLE[:1])
    for root in ("toy", Path("toy")):
        assert (AudformatDatabase(root).published, AudformatDatabase(root).total) == (None, 2)
    shutil.rmtree(tmp_path / "toy")
    assert not AudformatDatabase(Path("toy")).found()


def test_what_is_in_the_cache_needs_no_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    before = create_corpus("audformat", "toy==1.0.0").utterances()
    offline(monkeypatch)
    assert create_corpus("audformat", "toy==1.0.0").utterances() == before
    with pytest.raises(CorpusError, match=r"\(shelf at /nowhere\)\. Of toy the cache holds 1\.0\.0, .* no net: toy==1\.0\.0\."):
        create_corpus("audformat", "toy")


def test_recordings_that_cannot_be_had_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = create_corpus("audformat", "toy==1.0.0")
    offline(monkeypatch)
    assert corpus.total == 8
    with pytest.raises(CorpusError, match=r"The 8 recordings of toy==1\.0\.0 cannot be loaded by audb: .* try again when"):
        corpus.utterances()


def test_a_cache_that_others_write_to_is_not_used(tmp_path: Path, cache: Path) -> None:
    create_corpus("audformat", "toy==1.0.0").utterances()
    cache.rename(tmp_path / "shared")
    assert create_corpus("audformat", "toy==1.0.0").root.is_relative_to(cache)


def test_unknown_names_and_versions_are_told(cache: Path, host: Path) -> None:
    with pytest.raises(CorpusError, match=rf"no folder toi, and no published database .* \(shelf at {host}\)\. Expected"):
        create_corpus("audformat", "toi")
    with pytest.raises(CorpusError, match=r"toy has no version 3\.0\.0, but 1\.0\.0, 2\.0\.0\. .* toy==2\.0\.0"):
        create_corpus("audformat", "toy==3.0.0")
    assert not cache.exists()


def test_without_audb_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_zoo.corpora.audformat_database.find_spec", lambda name: None if name == "audb" else sys)
    with pytest.raises(CorpusError, match=r"no folder toy, .* package audb, which is not installed.*'ser-zoo\[audformat\]'"):
        create_corpus("audformat", "toy")


def test_other_folds_and_checkpoints_keep_the_version() -> None:
    data = SERDataModule("audformat", "toy?emotion=emotion/emotion")
    assert data.hparams["root"] == "toy==2.0.0?emotion=emotion/emotion"
    assert data.for_fold(2).corpus.published == "toy==2.0.0"


def test_it_is_described_and_prepared(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpora", "audformat", "--root", "toy==1.0.0", "--format", "json"]) == 0
    (described,) = json.loads(capsys.readouterr().out)
    assert (described["utterances"], described["contents"]["utterances"], recordings(cache)) == (8, 8, set())
    for decoded in (8, 0):
        assert main(["prepare", "audformat", "--root", "toy==1.0.0", "--format", "json"]) == 0
        (prepared,) = json.loads(capsys.readouterr().out)
        assert (prepared["utterances"], prepared["decoded"], prepared["extra"]) == (8, decoded, [])


def test_a_row_says_which_version_it_is_of_and_a_checkpoint_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ["--data=audformat", "--data.root=toy", f"--run_dir={tmp_path / 'run'}", "--trainer.max_epochs=1"]
    assert main(["fit", *SMALL_CNN, *QUICK, *data]) == 0
    assert read_result(tmp_path / "run" / "fold-1" / "result.json")["data"]["published"] == "toy==2.0.0"
    offline(monkeypatch)  # so that the latest version cannot be asked for
    assert main(["test", "--ckpt_path", str(tmp_path / "run" / "fold-1" / "checkpoints" / "best.ckpt")]) == 0
