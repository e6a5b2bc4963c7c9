from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.asvp_esd import ASVPESD, EMOTIONS
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card
from tests.releases.asvp_esd import UNREADABLE, write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "asvp_esd", seconds=None)


@pytest.fixture(scope="module")
def rows(complete: Path) -> list[Utterance]:
    with pytest.warns(SERZooWarning, match="left out"):
        return ASVPESD(complete, "speech_and_non_speech").utterances()


def test_a_complete_release_gives_every_utterance_whose_name_can_be_read(rows: list[Utterance]) -> None:
    assert len(rows) == 13951
    assert Counter(row.label for row in rows) == ASVPESD.counts
    assert Counter(row.style for row in rows) == {"speech": 5131, "non-speech": 8820}
    assert {row.gender for row in rows} == {row.language for row in rows} == {None}


def test_classes_and_speakers_are_those_counted(rows: list[Utterance]) -> None:
    known = card("asvpesd")
    codes = {label: code for code, (label, _) in EMOTIONS.items()}
    counted = Counter(codes[row.label] for row in rows)
    counted.update(name.partition("/03-")[2][3:5] for name in UNREADABLE)
    assert counted == known["classes"]
    assert len({row.speaker for row in rows}) == known["speakers"]["count"]


def test_names_that_cannot_be_read_are_listed_and_nothing_else_is_missing(complete: Path) -> None:
    with pytest.warns(SERZooWarning) as caught:
        ASVPESD(complete).utterances()
    assert [str(warning.message) for warning in caught] == [
        f"ASVP-ESD at {complete}: 13 recordings are left out because their names cannot be read: "
        "03-01-02-01-18-01-106-02-02-19.wav, 03-01-09-01-15-01-106-02-02-19.wav, 03-01-09-01-16-01-106-02-02-19.wav and 10 "
        "more. Expected names like 03-01-05-01-02-67-02-02-04.wav; the release has 13 others."
    ]


@pytest.mark.parametrize(("task", "size"), [(None, 5131), ("4class", 3541), ("non_speech", 8820)])
def test_tasks_take_their_part_of_the_release(rows: list[Utterance], task: str | None, size: int) -> None:
    assert len(ASVPESD("x", task).task.select(rows)) == size


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("03-01-05-02-02-67-02-02-04", ("67", "anger", "angry", "high", "speech")),
        ("03-02-03-01-60-150-04-01-00-13-01", ("150", "happiness", "happy", "normal", "non-speech")),
        ("03-01-09-07-101-01-02-02", ("01", "excitement", "excited", None, "speech")),
        ("03-02-04-01-52-150-04-01-00-14 -03", ("150", "sadness", "sad", "normal", "non-speech")),
        ("03-01-02-01-2-31-02-03-01-77", ("31", "neutral", "neutral", "normal", "speech")),
    ],
)
def test_a_row_says_what_its_file_name_says(tmp_path: Path, name: str, expected: tuple[str | None, ...]) -> None:
    path = tmp_path / "Audio" / "actor_" / f"{name}.wav"
    path.parent.mkdir(parents=True)
    path.touch()
    (row,) = ASVPESD(tmp_path).rows()
    assert (row.id, row.path) == (name, path)
    assert (row.speaker, row.label, row.original_label, row.intensity, row.style) == expected


@pytest.mark.parametrize(
    "folder", ["AUDIO/Actor_67", "bonus/actor_67", "ASVP-ESD-Update/Audio/actor_67", "Audio/more/actor_67"]
)
def test_case_and_depth_of_folders_do_not_matter(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "03-01-05-01-02-67-02-02-04.WAV"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 13951 utterances\. Missing: boredom 548 of 548; "):
        assert [row.path for row in ASVPESD(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "asvp_esd", None, speakers=["01"], limit=1, odd=False)
    assert_wrong_folders_are_refused(ASVPESD, root, "Audio")


def test_a_folder_of_other_recordings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Audio").mkdir()
    (tmp_path / "Audio" / "03a01Fa.wav").touch()
    with (
        pytest.warns(SERZooWarning, match=r"1 recordings are left out .*: 03a01Fa\.wav\. Expected names like"),
        pytest.raises(CorpusError, match=r"ASVP-ESD not found: .* holds Audio/\. Expected"),
    ):
        ASVPESD(tmp_path).utterances()
