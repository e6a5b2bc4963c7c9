from __future__ import annotations

import shutil
import warnings
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.meld import LABELS, MELD
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card
from tests.releases import meld as fake

PARTS = {"train": "train", "dev": "validation", "test": "test"}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """All utterances of a complete release."""
    root = fake.write(tmp_path_factory.mktemp("meld"), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return MELD(root).release()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The first 30 lines of each part."""
    return fake.write(tmp_path / "meld", None, dialogues=3)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# The complete release.


def test_a_complete_release_has_the_known_counts(complete: list[Utterance]) -> None:
    assert len({row.id for row in complete}) == len(complete) == MELD("x").total == 13_706
    assert Counter(row.label for row in complete) == MELD.counts
    assert Counter(row.split for row in complete) == {"train": 9988, "validation": 1108, "test": 2610}
    assert len({row.speaker for row in complete}) == MELD.speakers == 304
    assert len(MELD("x", "4class").task.select(complete)) == 11_351


@pytest.mark.parametrize(("part", "split"), PARTS.items())
def test_each_part_is_as_published(complete: list[Utterance], part: str, split: str) -> None:
    known = card("meld")[part]
    rows = [row for row in complete if row.split == split]
    classes = Counter(row.original_label for row in rows)
    classes["neutral"] += part != "test"  # the clip that cannot be used
    assert classes == known["classes"]
    assert len({row.session for row in rows}) == known["dialogues"]
    speakers = Counter(row.speaker for row in rows)
    assert len(speakers) == known["speakers"]
    unusable = 0 if part == "test" else 1
    assert 0 <= sum(known["main_cast"].values()) - sum(speakers[name] for name in known["main_cast"]) <= unusable


def test_speakers_recur_in_the_official_split(complete: list[Utterance]) -> None:
    train, dev, test = ({row.speaker for row in complete if row.split == split} for split in PARTS.values())
    overlap = {"test_in_train": len(test & train), "test_in_dev": len(test & dev), "dev_in_train": len(dev & train)}
    assert overlap == card("meld")["speaker_overlap"]


def test_clips_that_cannot_be_used_are_left_out(complete: list[Utterance]) -> None:
    ids = {row.id for row in complete}
    assert not ids & {"train_dia125_utt3", "dev_dia110_utt7", "dev_dia49_utt4", "dev_dia66_utt10", "test_dia108_utt2"}
    assert not any("final_videos" in key for key in ids)


def test_a_row_says_what_its_line_says(small: Path) -> None:
    line = fake.lines("dev")[1]
    with pytest.warns(SERZooWarning):
        row = next(row for row in MELD(small).release() if row.id == "dev_dia0_utt1")
    assert row == Utterance(
        id="dev_dia0_utt1",
        path=small / "dev_splits_complete" / "dia0_utt1.mp4",
        speaker=str(line[2]),
        label=LABELS[str(line[3])],
        original_label=str(line[3]),
        session="dev_dia0",
        language="en",
        split="validation",
    )


def test_a_wav_file_beside_a_clip_is_preferred(small: Path) -> None:
    clip = small / "train_splits" / "dia0_utt0.mp4"
    clip.with_suffix(".wav").touch()
    with pytest.warns(SERZooWarning):
        paths = {row.id: row.path for row in MELD(small).release()}
    assert paths["train_dia0_utt0"] == clip.with_suffix(".wav")
    assert paths["train_dia0_utt1"].suffix == ".mp4"


@pytest.mark.parametrize("tables", ["beside", "inside"])
def test_the_folders_of_the_archives_may_stay(small: Path, tables: str) -> None:
    for part, folder in fake.FOLDERS.items():
        (small / part.upper()).mkdir()
        (small / folder).rename(small / part.upper() / folder.title())
        if tables == "inside":
            shutil.move(small / f"{part}_sent_emo.csv", small / part.upper())
    clip = small / "TRAIN" / "Train_Splits" / "dia0_utt0.mp4"
    clip.rename(clip.with_suffix(".MP4"))
    clip.with_name("._dia0_utt0.mp4").touch()
    with pytest.warns(SERZooWarning, match="90 of 13706"):
        MELD(small).release()


# What is missing, and what is refused.


def test_a_missing_part_and_a_missing_clip_are_counted(tmp_path: Path) -> None:
    root = fake.write(tmp_path, None, ("dev", "test"))
    (root / "output_repeated_splits_test" / "dia0_utt0.mp4").unlink()
    with pytest.warns(SERZooWarning, match=r"3717 of 13706 .* Missing: split train 9988 of 9988; split test 1 of 2610\."):
        MELD(root).release()


def test_a_folder_above_or_below_the_root_is_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(MELD, small, "train_splits")


def test_clips_without_a_table_are_refused(small: Path) -> None:
    (small / "dev_sent_emo.csv").unlink()
    with pytest.raises(CorpusError, match=r"30 of 30 recordings have no label: dia0_utt0\.mp4, .* in .*dev_sent_emo\.csv"):
        MELD(small).release()


def test_an_unknown_clip_is_refused(small: Path) -> None:
    (small / "output_repeated_splits_test" / "dia500_utt0.mp4").touch()
    with pytest.raises(CorpusError, match=r"1 of 31 recordings have no label: dia500_utt0\.mp4"):
        MELD(small).release()


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_truncated_table_is_refused(small: Path, kept: float) -> None:
    path = small / "test_sent_emo.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: int(kept * len(text))], encoding="utf-8")
    with pytest.raises(CorpusError, match=r"damaged or cut off|recordings have no label"):
        MELD(small).release()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Emotion", "Feeling", "line 1: found columns Sr No., .*, expected Speaker, Emotion, Dialogue_ID, Utterance_ID among"),
        (",neutral,0,1,", ",neutral,zero,1,", "line 3: found Dialogue_ID 'zero' and Utterance_ID '1', expected two numbers"),
        (",neutral,0,1,", ",neutral,0,0,", "line 3: found a second line for dia0_utt0, expected one"),
        (",neutral,0,1,8,21", ",neutral,0,1", "line 3: found 9 fields, expected 11"),
    ],
)
def test_a_damaged_line_is_named(small: Path, old: str, new: str, message: str) -> None:
    edit(small / "train_sent_emo.csv", old, new)
    with pytest.raises(CorpusError, match=rf"MELD: .*train_sent_emo\.csv, {message}"):
        MELD(small).release()


def test_an_unknown_emotion_is_refused(small: Path) -> None:
    emotion = fake.lines("train")[0][3]
    edit(small / "train_sent_emo.csv", f",{emotion},neutral,0,0,", ",bored,neutral,0,0,")
    with pytest.raises(CorpusError, match=r"line 2: found Emotion 'bored', expected one of anger, disgust, fear, joy"):
        MELD(small).release()
