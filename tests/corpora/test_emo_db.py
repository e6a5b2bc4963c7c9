from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.emo_db import COUNTS, EmoDB
from ser_zoo.errors import CorpusError, SERZooWarning
from ser_zoo.protocols import find_protocol
from tests.releases import EMO_DB_COUNTS, write_emo_db

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
REAL = SHARED / "data" / "emo_db"
CARD = SHARED / "corpora" / "emodb.json"
needs_recordings = pytest.mark.skipif(not REAL.is_dir(), reason=f"the recordings of EMO-DB are not at {REAL}")
needs_card = pytest.mark.skipif(not CARD.is_file(), reason=f"the published folds of EMO-DB are not at {CARD}")


# The complete release.


def test_a_complete_release_gives_every_utterance_and_no_warning(emo_db: Path, recwarn: pytest.WarningsRecorder) -> None:
    rows = EmoDB(emo_db).utterances()
    assert not recwarn.list
    assert len(rows) == sum(EmoDB.counts.values()) == 535
    assert Counter(row.label for row in rows) == COUNTS
    assert Counter(row.speaker for row in rows) == {speaker: sum(counts) for speaker, counts in EMO_DB_COUNTS.items()}
    assert [row.id for row in rows] == sorted({row.id for row in rows})


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/wav/03a01Wa.wav")
    assert EmoDB("x").parse(path) == Utterance(
        id="03a01Wa",
        path=path,
        speaker="03",
        label="anger",
        original_label="W",
        gender="male",
        text="a01",
        repetition="a",
        language="de",
    )


@pytest.mark.parametrize(
    ("letter", "label"),
    [
        ("W", "anger"),
        ("L", "boredom"),
        ("E", "disgust"),
        ("A", "fear"),
        ("F", "happiness"),
        ("T", "sadness"),
        ("N", "neutral"),
    ],
)
def test_letters_abbreviate_the_german_words(letter: str, label: str) -> None:
    row = EmoDB("x").parse(Path(f"x/wav/11b03{letter}c.wav"))
    assert (row.label, row.original_label) == (label, letter)


def test_genders_are_those_of_the_documentation(emo_db: Path) -> None:
    genders = {row.speaker: row.gender for row in EmoDB(emo_db).utterances()}
    assert {speaker for speaker, gender in genders.items() if gender == "male"} == {"03", "10", "11", "12", "15"}
    assert {speaker for speaker, gender in genders.items() if gender == "female"} == {"08", "09", "13", "14", "16"}


@pytest.mark.parametrize("spelling", ["wav/{}.WAV", "WAV/{}.wav", "Wav/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("03a01Fa")
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in EmoDB(tmp_path).utterances()] == [path]


# What is missing.


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    root = write_emo_db(tmp_path, emotions="WNFT")
    with pytest.warns(SERZooWarning) as caught:
        rows = EmoDB(root).utterances()
    assert len(rows) == 339
    assert str(caught[0].message) == (
        f"EMO-DB at {root} is not complete: 339 of 535 utterances. "
        "Missing: boredom 81 of 81; disgust 46 of 46; fear 69 of 69. Going on with what is there."
    )


def test_one_missing_file_is_counted(tmp_path: Path, emo_db: Path) -> None:
    shutil.copytree(emo_db, tmp_path / "emo_db")
    (tmp_path / "emo_db" / "wav" / "03a01Wa.wav").unlink()
    with pytest.warns(SERZooWarning, match=r"534 of 535 utterances. Missing: anger 1 of 127\. "):
        EmoDB(tmp_path / "emo_db").utterances()


# What is refused.


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        EmoDB(tmp_path / "nowhere").utterances()
    assert str(caught.value) == (
        f"EMO-DB not found: there is no folder {tmp_path / 'nowhere'}. Expected the unpacked release, with the folder wav/ "
        "(wav/03a01Fa.wav ...). Get it at http://emodb.bilderbar.info/download/download.zip, then pass --data.root or set "
        "SER_ZOO_DATA to the folder that holds emo_db/."
    )


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (".", "holds emo_db/"),
        ("emo_db/wav", r"holds 03a01Aa.wav, 03a01Ea.wav, .* and 529 more"),
        ("emo_db/wav/03a01Fa.wav", "there is no folder"),
    ],
)
def test_a_folder_above_or_below_the_root_is_refused(emo_db: Path, wrong: str, found: str) -> None:
    corpus = EmoDB(emo_db.parent / wrong)
    with pytest.raises(CorpusError, match=rf"{found}.* Expected the unpacked release, with the folder wav/"):
        corpus.utterances()
    assert not corpus.found()


@pytest.mark.parametrize("inside", ["", "wav"])
def test_an_empty_folder_is_refused(tmp_path: Path, inside: str) -> None:
    (tmp_path / inside).mkdir(exist_ok=True)
    with pytest.raises(CorpusError, match=rf"holds {inside + '/' if inside else 'nothing'}\. Expected"):
        EmoDB(tmp_path).utterances()


@pytest.mark.parametrize(
    "name", ["04a01Fa", "03a01Xa", "03c01Fa", "03a01F", "03a01Fa (copy)", "03a01FA", "03A01Fa", "x03a01Fa"]
)
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"unexpected file name .* Expected names like 03a01Fa\.wav\. Move"):
        EmoDB("x").parse(Path("x/wav") / f"{name}.wav")


def test_a_file_that_is_not_of_the_release_stops_the_reading(tmp_path: Path, emo_db: Path) -> None:
    shutil.copytree(emo_db, tmp_path / "emo_db")
    (tmp_path / "emo_db" / "wav" / "mine.wav").touch()
    with pytest.raises(CorpusError, match=r"EMO-DB: unexpected file name mine\.wav in .*wav\. Expected names like"):
        EmoDB(tmp_path / "emo_db").utterances()


def test_the_same_utterance_as_wav_and_flac_is_refused(tmp_path: Path) -> None:
    root = write_emo_db(tmp_path, speakers=["03"], emotions="F", takes=1)
    write_emo_db(root, speakers=["03"], emotions="F", takes=1, suffix=".flac")
    with pytest.raises(CorpusError, match=r"two files for utterance 03a01Fa: .*03a01Fa\.flac and .*03a01Fa\.wav\. .*Remove"):
        EmoDB(root).utterances()


def test_what_other_systems_leave_behind_is_passed_over(tmp_path: Path, emo_db: Path, recwarn: pytest.WarningsRecorder) -> None:
    root = tmp_path / "emo_db"
    shutil.copytree(emo_db, root)
    for name in ("._03a01Fa.wav", ".DS_Store", "Thumbs.db"):
        (root / "wav" / name).touch()
    (root / "erkennung.txt").touch()
    (root / "lablaut").mkdir()
    assert len(EmoDB(root).utterances()) == 535
    assert not recwarn.list


def test_only_such_leftovers_are_no_release(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "._03a01Fa.wav").touch()
    assert not EmoDB(tmp_path).found()


# Against what is published.


@needs_card
@pytest.mark.parametrize("protocol", ["loso10", "pairs5"])
def test_folds_are_those_published(emo_db: Path, protocol: str) -> None:
    rows = EmoDB(emo_db).utterances()
    folds = json.loads(CARD.read_text())["protocols"][protocol]["folds"]
    assert find_protocol("emo_db", protocol).folds == len(folds)
    for fold, published in folds.items():
        split = find_protocol("emo_db", protocol).split(int(fold), rows)
        for side, name in zip(split, ("train", "val", "test"), strict=True):
            assert {row.speaker for row in side} == set(published[name])
            assert len(side) == published["n"][name]
        assert Counter(row.label for row in split.test) == published["test_classes"]


@needs_recordings
def test_the_recordings_that_are_here_are_read() -> None:
    with pytest.warns(SERZooWarning, match="339 of 535"):
        rows = EmoDB(REAL).utterances()
    assert Counter(row.label for row in rows) == {"anger": 127, "neutral": 79, "happiness": 71, "sadness": 62}
    assert len({row.speaker for row in rows}) == 10
