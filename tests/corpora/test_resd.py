from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.resd import RESD
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card, read_complete
from tests.releases.resd import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(RESD(write(tmp_path_factory.mktemp("complete") / "resd", seconds=None)))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "resd", None, [3, 32])


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 1396
    assert Counter(row.label for row in rows) == RESD.counts
    assert Counter(row.split for row in rows) == {"train": 1116, "test": 280}
    assert len(RESD("x", "4class").task.select(rows)) == 790


def test_the_speaker_is_a_part_of_a_dialogue_and_the_official_split_shares_all_dialogues(rows: list[Utterance]) -> None:
    assert len({row.speaker for row in rows}) == 100
    assert {len({row.speaker for row in rows if row.session == session}) for session in {row.session for row in rows}} == {2}
    train, test = ({row.session for row in rows if row.split == split} for split in ("train", "test"))
    assert train == test
    assert len(train) == 50


def test_classes_and_dialogues_are_those_counted(rows: list[Utterance]) -> None:
    known = card("resd")
    assert Counter(row.label for row in rows) == known["classes"]
    for fold, published in known["protocols"]["dialogue5"]["folds"].items():
        block = {f"{dialogue:02d}" for dialogue in range(10 * int(fold) - 9, 10 * int(fold) + 1)}
        assert published["test"] == sorted(block)
        assert published["n"]["test"] == sum(row.session in block for row in rows)


def test_a_row_says_what_table_and_name_say(small: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"49 of 1396 utterances\. Missing: anger 219 of 219; "):
        rows = RESD(small).utterances()
    assert rows[0] == Utterance(
        id="03_disgust_neutral d_000",
        path=small / "test" / "03_disgust_neutral" / "03_disgust_neutral d_000.wav",
        speaker="03_disgust",
        label="disgust",
        original_label="disgust",
        session="03",
        language="ru",
        split="test",
    )
    assert (rows[-1].id, rows[-1].speaker) == ("32_happiness_enthusiasm_h_130", "32_happiness")


def test_case_of_folders_does_not_matter(small: Path) -> None:
    for split in ("train", "test"):
        (small / split).rename(small / split.title())
    with pytest.warns(SERZooWarning):
        assert len(RESD(small).utterances()) == 49


def test_folders_that_are_not_the_release_are_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(RESD, small, "train")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_table_is_refused(small: Path, split: str) -> None:
    (small / f"{split}.csv").unlink()
    with pytest.raises(CorpusError, match=rf"RESD: there is no file .*{split}\.csv\. Expected the unpacked release"):
        RESD(small).utterances()


@pytest.mark.parametrize("size", [0, 10, 200, 400])
def test_a_table_that_is_cut_off_is_refused(small: Path, size: int) -> None:
    path = small / "train.csv"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorpusError, match=r"line \d+: found .*, expected|recordings have no label|unexpected file name"):
        RESD(small).utterances()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",disgust\n", ",anger\n", r"train\.csv, line 2: found emotion 'anger' for 03_.*\.wav, expected disgust\. "),
        (",disgust\n", ",neutral\n", r"train\.csv, line 2: found emotion 'neutral' for 03_.*\.wav, expected disgust\. "),
        ("path", "file", r"train\.csv, line 1: found columns name, file, .*, expected path, emotion among them"),
        ("03_disgust_neutral d_020.wav", "99_x.wav", r"unexpected file name 99_x\.wav .* names like 32_happiness_enthusiasm_h"),
        ("03_disgust_neutral d_020.wav", "03_disgust_neutral d_999.wav", r"1 of 49 recordings have no label: 03_.*d_020\.wav"),
    ],
)
def test_a_damaged_table_is_refused(small: Path, old: str, new: str, message: str) -> None:
    path = small / "train.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CorpusError, match=rf"RESD: .*{message}"):
        RESD(small).utterances()
