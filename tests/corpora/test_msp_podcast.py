from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.msp_podcast import LABELS, MSPPodcast
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, read_complete
from tests.releases import msp_podcast as fake


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two recordings of each label by each of four speakers in Train, Development, Test1 and Test2; two of Test3."""
    return fake.write(tmp_path / "msp_podcast", None)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# What is read.


def test_the_official_partition_is_kept_and_test2_is_in_no_task(small: Path) -> None:
    corpus = MSPPodcast(small)
    rows = read_complete(corpus)
    assert Counter(row.split for row in rows) == dict.fromkeys(("train", "validation", "test"), 64)
    assert Counter(row.label for row in rows) == dict.fromkeys(corpus.labels, 24)
    assert Counter(row.split for row in corpus.release()) == dict.fromkeys(("train", "validation", "test", None), 80)
    assert corpus.dropped == {
        **dict.fromkeys(corpus.labels, 8),
        **dict.fromkeys(("other", "no_agreement"), 32),
    }


def test_four_classes_are_a_task(small: Path) -> None:
    assert {row.label for row in read_complete(MSPPodcast(small, "4class"))} == {"neutral", "happiness", "sadness", "anger"}


def test_a_row_says_what_its_line_says(small: Path) -> None:
    row = next(row for row in MSPPodcast(small).release() if row.id == "MSP-PODCAST_1001_0003")
    assert row == Utterance(
        id="MSP-PODCAST_1001_0003",
        path=small / "Audios" / "MSP-PODCAST_1001_0003.wav",
        speaker="11",
        label="surprise",
        original_label="U",
        gender="male",
        session="1001",
        language="en",
        split="train",
        soft={"surprise": 2.0, "neutral": 1.0},
        dimensions={"valence": 3.5, "arousal": 4.2, "dominance": 4.0},
    )


@pytest.mark.parametrize(("letter", "label"), LABELS.items())
def test_letters_are_the_labels(small: Path, letter: str, label: str) -> None:
    edit(small / "Labels" / "labels_consensus.csv", ",A,", f",{letter},")
    row = next(row for row in MSPPodcast(small).release() if row.id == "MSP-PODCAST_1000_0000")
    assert (row.label, row.original_label) == (label, letter)


def test_unknown_speakers_are_told_apart_by_podcast(small: Path) -> None:
    rows = {row.speaker: row for row in MSPPodcast(small).release()}
    assert len(rows) == 16
    assert rows["unknown_1000"].gender is None
    assert rows["unknown_1000"].split == "train"


@pytest.mark.parametrize("detailed", ["EmoDetail", "EmoClass_Major"])
def test_both_forms_of_the_votes_are_read(tmp_path: Path, detailed: str) -> None:
    rows = MSPPodcast(fake.write(tmp_path, None, takes=1, detailed=detailed)).release()
    votes = {row.label: row.soft for row in rows}
    assert votes["anger"] == {"anger": 2.0, "neutral": 1.0}
    assert votes["neutral"] == {"neutral": 3.0}
    assert votes["no_agreement"] == {"other": 2.0, "neutral": 1.0}


def test_without_the_raters_there_are_no_votes(tmp_path: Path) -> None:
    assert {row.soft for row in read_complete(MSPPodcast(fake.write(tmp_path, None, detailed=None)))} == {None}


@pytest.mark.parametrize("name", ["labels_concensus.csv", "Labels_Consensus.CSV"])
def test_the_older_spelling_and_any_case_are_read(tmp_path: Path, name: str) -> None:
    root = fake.write(tmp_path, None, label_file=name)
    edit(root / "Labels" / name, "Development", "Validation")
    (root / "Audios").rename(root / "AUDIOS")
    (root / "Labels").rename(root / "labels")
    assert len(read_complete(MSPPodcast(root))) == 192


# What is missing, and what is refused.


def test_missing_recordings_are_counted_by_part(small: Path) -> None:
    for path in (small / "Audios").glob("MSP-PODCAST_[24]000_0000.wav"):
        path.unlink()
    missing = r"2 of 320 utterances of labels_consensus.csv have no recording: Development 1 of 80; Test2 1 of 80\. Going on"
    with pytest.warns(SERZooWarning, match=missing):
        MSPPodcast(small).release()


def test_a_label_file_without_the_last_lines_is_warned_of(small: Path) -> None:
    path = small / "Labels" / "labels_consensus.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:200]))
    with pytest.warns(SERZooWarning, match=r"123 of 322 recordings have no line in labels_consensus.csv, more than Test3 has"):
        MSPPodcast(small).release()


def test_recordings_of_test3_need_no_label(small: Path) -> None:
    assert len(list((small / "Audios").glob("MSP-PODCAST_5*"))) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not [row for row in MSPPodcast(small).release() if row.session == "5000"]


def test_a_folder_above_or_below_the_root_is_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(MSPPodcast, small, "Labels")


def test_recordings_without_a_label_file_are_refused(small: Path) -> None:
    (small / "Labels" / "labels_consensus.csv").unlink()
    with pytest.raises(CorpusError, match=r"there is no labels_consensus\.csv .* in .*Labels\. Expected the labels"):
        MSPPodcast(small).utterances()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("EmoClass", "Emotion", "line 1: found columns FileName, Emotion, .*, expected FileName, EmoClass"),
        (",A,", ",Q,", "line 2: found EmoClass 'Q', expected one of A, S"),
        (",Train", ",Trai", "line 2: found Split_Set 'Trai', expected one of Train"),
        (",Unknown,Train", ",,Train", "line 2: found Gender '', expected one of Female"),
        (",Train", "", "line 2: found 7 fields, expected 8 as in the header"),
        ("4.2", "high", "line 2: found means 3.5, high, 4.0, expected three numbers"),
    ],
)
def test_a_damaged_line_is_named(small: Path, old: str, new: str, message: str) -> None:
    edit(small / "Labels" / "labels_consensus.csv", old, new)
    with pytest.raises(CorpusError, match=rf"MSP-Podcast: .*labels_consensus\.csv, {message}"):
        MSPPodcast(small).utterances()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("EmoDetail", "Votes", "line 1: found columns FileName, Votes, expected EmoClass_Major or EmoDetail"),
        ("; A:4.0; V:3.0; D:5.0; ", "", "line 2: found EmoDetail 'WORKER"),
    ],
)
def test_a_damaged_file_of_raters_is_named(small: Path, old: str, new: str, message: str) -> None:
    edit(small / "Labels" / "labels_detailed.csv", old, new)
    with pytest.raises(CorpusError, match=rf"MSP-Podcast: .*labels_detailed\.csv, {message}"):
        MSPPodcast(small).utterances()


def test_a_name_outside_the_grammar_is_refused(small: Path) -> None:
    (small / "Audios" / "mine.wav").touch()
    edit(small / "Labels" / "labels_consensus.csv", "MSP-PODCAST_1000_0000.wav", "mine.wav")
    with pytest.raises(
        CorpusError, match=r"line 2: found FileName 'mine\.wav', expected a name like MSP-PODCAST_0001_0008\.wav"
    ):
        MSPPodcast(small).utterances()
