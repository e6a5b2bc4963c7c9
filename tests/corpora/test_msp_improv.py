from __future__ import annotations

import csv
import gzip
import shutil
import warnings
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.msp_improv import LABELS, STYLES, MSPImprov
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import SHARED, assert_wrong_folders_are_refused, card
from tests.releases import msp_improv as fake

IDS = SHARED / "corpora" / "msp_improv_ids.csv.gz"
needs_ids = pytest.mark.skipif(not IDS.is_file(), reason=f"the ids of MSP-IMPROV are not at {IDS}")
ONE = "MSP-IMPROV-S01A-F01-P-FM01"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Twelve turns of each condition by each speaker who has them."""
    return fake.write(tmp_path / "msp_improv", None, limit=12)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# The complete release.


def test_a_complete_release_has_the_known_sums(tmp_path: Path) -> None:
    corpus = MSPImprov(fake.write(tmp_path, None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        release = corpus.release()
    assert len(release) == corpus.total == 8438
    assert len(corpus.task.select(release)) == 7798
    sessions = Counter(row.session for row in release)
    assert (sessions["5"], sessions["6"], sum(sessions[session] for session in "1234")) == (1505, 1622, 5311)
    assert Counter(row.gender for row in release).keys() == {"female", "male"}
    assert {row.label for row in release} == set(MSPImprov.counts)


@needs_ids
def test_real_ids_have_the_known_speakers_and_conditions(tmp_path: Path) -> None:
    with gzip.open(IDS, "rt") as file:
        ids = [row["utterance"] for row in csv.DictReader(file)]
    corpus = MSPImprov(fake.write(tmp_path, None, ids))
    missing = r"8385 of 8438 utterances. Missing: session 1, 2, 3, 4: 37 of 5311; session 5: 6 of 1505; session 6: 10 of 1622\."
    with pytest.warns(SERZooWarning, match=missing):
        rows = corpus.release()
    known = card("msp_improv")
    assert [row.id for row in rows] == sorted(ids)
    assert Counter(row.speaker for row in rows) == known["speakers"]
    assert Counter(row.style for row in rows) == {STYLES[code]: count for code, count in known["conditions"].items()}
    for fold in known["protocols"]["loso6"]["folds"].values():
        for side, speakers in ((side, fold[side]) for side in ("train", "val", "test")):
            assert sum(row.speaker in speakers for row in rows) == fold["n"][side]


def test_a_row_says_what_its_name_and_its_block_say(tmp_path: Path) -> None:
    fake.write(tmp_path, None, ["MSP-IMPROV-S07A-M03-T-MF02"])
    with pytest.warns(SERZooWarning):
        assert MSPImprov(tmp_path).release() == [
            Utterance(
                id="MSP-IMPROV-S07A-M03-T-MF02",
                path=tmp_path / "session3" / "S07A" / "T" / "MSP-IMPROV-S07A-M03-T-MF02.wav",
                speaker="M03",
                label="neutral",
                original_label="N",
                gender="male",
                session="3",
                text="07",
                style="target_improvised",
                language="en",
                soft={"neutral": 2.0, "other": 1.0},
                dimensions={"valence": 3.25, "arousal": 2.4},
            )
        ]


@pytest.mark.parametrize(("letter", "label"), LABELS.items())
def test_the_label_is_that_of_the_label_file(tmp_path: Path, letter: str, label: str) -> None:
    fake.write(tmp_path, None, [ONE])
    edit(tmp_path / "Evalution.txt", ".avi; N;", f".avi; {letter};")
    with pytest.warns(SERZooWarning):
        assert [(row.label, row.original_label) for row in MSPImprov(tmp_path).release()] == [(label, letter)]


def test_a_task_keeps_what_was_improvised(small: Path) -> None:
    with pytest.warns(SERZooWarning):
        rows = MSPImprov(small, "4class_improvised").utterances()
    assert {row.style for row in rows} == {"improvised", "target_improvised"}
    assert {row.label for row in rows} == set(MSPImprov("x").labels)


@pytest.mark.parametrize("name", ["Evaluation.txt", "EVALUTION.TXT"])
def test_both_spellings_of_the_label_file_are_read(tmp_path: Path, name: str) -> None:
    fake.write(tmp_path, None, [ONE], label_file=name)
    with pytest.warns(SERZooWarning):
        assert [row.id for row in MSPImprov(tmp_path).release()] == [ONE]


@pytest.mark.parametrize("place", ["Audio/session1", "Session1", "session1/wav"])
def test_recordings_are_found_wherever_copies_keep_them(tmp_path: Path, place: str) -> None:
    fake.write(tmp_path, None, [ONE])
    (tmp_path / "session1").rename(tmp_path / "aside")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / "aside").rename(tmp_path / place)
    wav = next((tmp_path / place).rglob("*.wav"))
    wav.rename(wav.with_suffix(".WAV"))
    wav.with_suffix(".avi").touch()
    wav.with_name(f"._{wav.name}").touch()
    with pytest.warns(SERZooWarning):
        assert [row.id for row in MSPImprov(tmp_path).release()] == [ONE]


def test_a_repeated_block_is_a_copy(tmp_path: Path) -> None:
    fake.write(tmp_path, None, [ONE])
    path = tmp_path / "Evalution.txt"
    path.write_text(path.read_text() + "\n" + path.read_text())
    with pytest.warns(SERZooWarning):
        assert MSPImprov(tmp_path).release()[0].soft == {"neutral": 2.0, "other": 1.0}


# What is missing, and what is refused.


def test_a_missing_session_is_counted(small: Path) -> None:
    shutil.rmtree(small / "session5")
    with pytest.warns(SERZooWarning, match=r"of 8438 utterances. Missing: session 1, 2, 3, 4: .*; session 5: 1505 of 1505; "):
        MSPImprov(small).utterances()


def test_a_folder_above_or_below_the_root_is_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(MSPImprov, small, "session1")


def test_recordings_without_a_label_file_are_refused(small: Path) -> None:
    (small / "Evalution.txt").unlink()
    with pytest.raises(CorpusError, match=r"of \d+ recordings have no label: MSP-.* Expected one for each in .*Evalution\.txt"):
        MSPImprov(small).utterances()


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_truncated_label_file_is_refused(small: Path, kept: float) -> None:
    path = small / "Evalution.txt"
    text = path.read_text()
    path.write_text(text[: int(kept * len(text))])
    with pytest.raises(CorpusError, match=r"damaged or cut off|recordings have no label"):
        MSPImprov(small).utterances()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (".avi; N;", ".avi; Q;", "line 1: found label Q, expected one of A, H, S, N, O, X"),
        ("A:2.4", "A:high", "line 1: found 'UTD-IMPROV"),
        ("; N:3.000000;\nWORKER0001", "", "line 1: found 'UTD-IMPROV"),
        ("WORKER0001; Neutral", "WORKER0001; Bored", "line 2: found a rater's Bored, expected one of Angry"),
        ("UTD-", "", "line 1: found 'IMPROV"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    fake.write(tmp_path, None, [ONE])
    edit(tmp_path / "Evalution.txt", old, new)
    with pytest.raises(CorpusError, match=rf"MSP-IMPROV: .*Evalution\.txt, {message}"):
        MSPImprov(tmp_path).release()


def test_a_second_label_is_refused(tmp_path: Path) -> None:
    fake.write(tmp_path, None, [ONE])
    path = tmp_path / "Evalution.txt"
    path.write_text(path.read_text() + "\n" + path.read_text().replace("; N;", "; A;"))
    with pytest.raises(CorpusError, match=r"line 7: found a second label for IMPROV-S01A-F01-P-FM01, expected N"):
        MSPImprov(tmp_path).release()


@pytest.mark.parametrize("name", ["MSP-IMPROV-S01A-F07-P-FM01", "MSP-IMPROV-S01X-F01-P-FM01", "MSP-IMPROV-S01A-F01-Q-FM01"])
def test_a_name_outside_the_grammar_is_refused(tmp_path: Path, name: str) -> None:
    wav = fake.write(tmp_path, None, [ONE]) / "session1" / "S01A" / "P" / f"{ONE}.wav"
    wav.rename(wav.with_stem(name))
    edit(tmp_path / "Evalution.txt", ONE[4:], name[4:])
    with pytest.raises(CorpusError, match=rf"unexpected file name {name}\.wav"):
        MSPImprov(tmp_path).release()


def test_the_same_turn_twice_is_refused(tmp_path: Path) -> None:
    wav = fake.write(tmp_path, None, [ONE]) / "session1" / "S01A" / "P" / f"{ONE}.wav"
    shutil.copy(wav, tmp_path / "session1")
    with pytest.raises(CorpusError, match=f"two files for utterance {ONE}"):
        MSPImprov(tmp_path).release()
