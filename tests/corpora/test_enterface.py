from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.enterface import ENTERFACE
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card, read_complete
from tests.releases.enterface import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(ENTERFACE(write(tmp_path_factory.mktemp("complete") / "enterface", seconds=None)))


def test_a_complete_release_gives_every_utterance_but_the_uncut_ones(rows: list[Utterance]) -> None:
    assert len(rows) == 1257
    assert Counter(row.label for row in rows) == ENTERFACE.counts
    assert Counter(Counter(row.speaker for row in rows).values()) == {30: 41, 27: 1}
    assert len({row.text for row in rows}) == 30


def test_classes_and_speakers_are_those_counted_without_subject_6(rows: list[Utterance]) -> None:
    known = card("enterface")
    speakers = {speaker: entry["n"] for speaker, entry in known["speakers"].items() if speaker != "6"}
    assert Counter(row.speaker for row in rows) == speakers
    assert Counter(row.original_label for row in rows) == {code: n - 1 for code, n in known["classes"].items()}


@pytest.mark.parametrize(
    ("path", "speaker", "label", "text"),
    [
        ("subject 1/anger/sentence 1/s1_an_1.avi", "1", "anger", "an1"),
        ("subject 11/fear/sentence 4/s12_fe_4.wav", "11", "fear", "fe4"),
        ("subject 3/surprise/sentence 4/s_3_su_4.avi", "3", "surprise", "su4"),
        ("subject 16/surprise/sentence 3/s16_su_3avi.avi", "16", "surprise", "su3"),
        ("Subject 2/Anger/Sentence 2/s2_an_1.AVI", "2", "anger", "an2"),
    ],
)
def test_a_row_says_what_its_folders_say(path: str, speaker: str, label: str, text: str) -> None:
    assert ENTERFACE("x").parse(Path(path)) == Utterance(
        id=Path(path).stem,
        path=Path(path),
        speaker=speaker,
        label=label,
        original_label=text[:2],
        text=text,
        language="en",
    )


def test_of_a_video_and_its_wav_the_wav_is_read(tmp_path: Path) -> None:
    for suffix in (".avi", ".wav"):
        write(tmp_path, None, [1], ["anger"], [1], suffix)
    with pytest.warns(SERZooWarning, match=r"1 of 1257 utterances\. Missing: anger 209 of 210; "):
        assert [row.path.name for row in ENTERFACE(tmp_path).utterances()] == ["s1_an_1.wav"]


def test_the_folder_of_the_archive_may_stand_between(tmp_path: Path) -> None:
    write(tmp_path / "Enterface Database", None, [1], ["anger"], [1])
    with pytest.warns(SERZooWarning):
        assert len(ENTERFACE(tmp_path).utterances()) == 1


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "enterface", None, [1, 2], ["anger"])
    assert_wrong_folders_are_refused(ENTERFACE, root, "subject 1")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("subject 1/anger/sentence 1/s1_xx_1.avi", r"unexpected file name s1_xx_1\.avi .* names like s1_an_1\.avi"),
        ("subject 1/anger/sentence 1/s1_fe_1.avi", r"s1_fe_1\.avi is in folder .*sentence 1\. Expected folders like"),
        ("subject 1/joy/sentence 1/s1_an_1.avi", r"s1_an_1\.avi is in folder .*Expected folders like"),
        ("subject 1/anger/sentence 6/s1_an_1.avi", r"s1_an_1\.avi is in folder .*Expected folders like"),
        ("subject 45/anger/sentence 1/s45_an_1.avi", r"s45_an_1\.avi is in folder .*Expected folders like"),
        ("subject 1/anger/s1_an_1.avi", r"s1_an_1\.avi is in folder .*anger\. Expected folders like"),
    ],
)
def test_what_breaks_the_grammar_is_refused(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    with pytest.raises(CorpusError, match=rf"eNTERFACE'05: {message}"):
        ENTERFACE(tmp_path).utterances()
