from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Several, corpus_class
from ser_zoo.errors import CorpusError, UnknownNameError
from tests.releases import ravdess_names, write_emo_db, write_ravdess

EMO_DB, RAVDESS = corpus_class("emo_db"), corpus_class("ravdess")


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Two speakers of EMO-DB and two actors of RAVDESS, one take of each emotion."""
    write_emo_db(tmp_path / "emo_db", ["03", "08"], "WLFNT", 1)
    write_ravdess(tmp_path / "ravdess", ravdess_names(["03", "08"], takes=1))
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_ids_and_speakers_carry_their_corpus_and_labels_are_shared(both: Path) -> None:
    corpus = Several([EMO_DB], [RAVDESS], both)
    rows = corpus.utterances()
    assert corpus.name == "emo_db-to-ravdess"
    assert Several([EMO_DB, RAVDESS], root=both).name == "emo_db+ravdess"
    assert corpus.labels == ("anger", "happiness", "neutral", "sadness")
    assert Counter(row.speaker for row in rows) == {"emo_db/03": 4, "emo_db/08": 4, "ravdess/03": 4, "ravdess/08": 4}
    assert {row.id for row in rows if row.label == "anger"} == {
        "emo_db/03a01Wa",
        "emo_db/08a01Wa",
        "ravdess/03-01-05-01-01-01-03",
        "ravdess/03-01-05-01-01-01-08",
    }
    assert {row.text for row in rows} == {"emo_db/a01", "ravdess/01"}
    assert corpus.dropped == {
        "emo_db boredom": 2,
        "ravdess calm": 2,
        "ravdess disgust": 2,
        "ravdess fear": 2,
        "ravdess surprise": 2,
    }


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_classes_that_nobody_teaches_are_left_out_and_counted(both: Path) -> None:
    corpus = Several([EMO_DB], [RAVDESS], both, "common7")
    assert {row.label for row in corpus.utterances()} == {"anger", "happiness", "neutral", "sadness"}
    assert corpus.dropped["ravdess fear"] == 2
    other = Several([RAVDESS], [EMO_DB], both, "common7")
    assert len({row.label for row in other.utterances()}) == 7


def test_the_folder_of_all_corpora_is_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_DATA", "/corpora")
    assert [part.root for part in Several([EMO_DB, RAVDESS]).parts] == [Path("/corpora/emo_db"), Path("/corpora/ravdess")]


def test_a_corpus_that_is_named_twice_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"--data emo_db,ravdess and --data.test emo_db name emo_db twice"):
        Several([EMO_DB, RAVDESS], [EMO_DB])


def test_an_unknown_space_is_explained() -> None:
    with pytest.raises(UnknownNameError, match="Unknown label space 'common5'"):
        Several([EMO_DB, RAVDESS], labels="common5")
