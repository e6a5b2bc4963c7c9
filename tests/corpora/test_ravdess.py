from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.ravdess import RAVDESS, release_ids
from ser_zoo.errors import CorpusError, SERZooWarning
from ser_zoo.protocols import find_protocol
from tests.releases import RAVDESS_ACTORS, ravdess_names, write_ravdess

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
REAL = SHARED / "data" / "ravdess"
CARD = SHARED / "corpora" / "ravdess.json"
needs_recordings = pytest.mark.skipif(not REAL.is_dir(), reason=f"the recordings of RAVDESS are not at {REAL}")
needs_card = pytest.mark.skipif(not CARD.is_file(), reason=f"the published folds of RAVDESS are not at {CARD}")

CLASSES = {
    "neutral": 96,
    "calm": 192,
    "happiness": 192,
    "sadness": 192,
    "anger": 192,
    "fear": 192,
    "disgust": 192,
    "surprise": 192,
}


def touch(root: Path, names: list[str], suffix: str = ".wav") -> Path:
    """A release whose recordings are empty: the reader opens none."""
    for name in names:
        path = root / f"Actor_{name[-2:]}" / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


# The complete release.


def test_a_complete_release_gives_every_utterance_and_no_warning(ravdess: Path, recwarn: pytest.WarningsRecorder) -> None:
    rows = RAVDESS(ravdess).utterances()
    assert not recwarn.list
    assert len(rows) == sum(RAVDESS.counts.values()) == 1440
    assert Counter(row.label for row in rows) == CLASSES
    assert Counter(row.speaker for row in rows) == dict.fromkeys(RAVDESS_ACTORS, 60)
    assert Counter(row.intensity for row in rows) == {"normal": 768, "strong": 672}
    assert Counter(row.text for row in rows) == Counter(row.repetition for row in rows) == {"01": 720, "02": 720}


def test_the_ids_of_the_release_are_all_different() -> None:
    assert sorted(release_ids()) == sorted(ravdess_names())
    assert len(set(release_ids())) == 1440


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/Actor_07/03-01-05-02-01-02-07.wav")
    assert RAVDESS("x").parse(path) == Utterance(
        id="03-01-05-02-01-02-07",
        path=path,
        speaker="07",
        label="anger",
        original_label="angry",
        gender="male",
        text="01",
        intensity="strong",
        repetition="02",
        style="speech",
        language="en",
    )


def test_original_labels_are_the_release_words(ravdess: Path) -> None:
    words = {row.label: row.original_label for row in RAVDESS(ravdess).utterances()}
    assert list(words.items()) == [
        ("neutral", "neutral"),
        ("calm", "calm"),
        ("happiness", "happy"),
        ("sadness", "sad"),
        ("anger", "angry"),
        ("fear", "fearful"),
        ("disgust", "disgust"),
        ("surprise", "surprised"),
    ]


def test_odd_actors_are_men(ravdess: Path) -> None:
    genders = {row.speaker: row.gender for row in RAVDESS(ravdess).utterances()}
    assert genders == {actor: "male" if int(actor) % 2 else "female" for actor in RAVDESS_ACTORS}


def test_songs_and_videos_are_passed_over(tmp_path: Path) -> None:
    speech = "03-01-05-01-01-01-07"
    touch(tmp_path, [speech, "03-02-05-01-01-01-07", "01-01-05-01-01-01-07", "02-01-05-01-01-01-07"])
    with pytest.warns(SERZooWarning, match="1 of 1440"):
        assert [row.id for row in RAVDESS(tmp_path).utterances()] == [speech]


def test_songs_are_read_by_the_tasks_that_want_them(tmp_path: Path) -> None:
    speech, song = "03-01-05-01-01-01-07", "03-02-05-01-01-01-07"
    touch(tmp_path, [speech, song])
    assert [(row.id, row.style) for row in RAVDESS(tmp_path, "song").utterances()] == [(song, "song")]
    with pytest.warns(SERZooWarning, match="Missing: actor 01"):
        assert [row.id for row in RAVDESS(tmp_path, "speech_and_song").utterances()] == [speech, song]


@pytest.mark.parametrize(("task", "counts"), [("4class", 672), ("6class", 1056), ("7class", 1440)])
def test_tasks_take_their_part_of_the_release(ravdess: Path, task: str, counts: int) -> None:
    rows = RAVDESS(ravdess, task).utterances()
    assert len(rows) == counts
    assert {row.label for row in rows} == set(RAVDESS(ravdess, task).labels)
    assert Counter(row.label for row in rows)["neutral"] == (288 if task == "7class" else 96)


def test_a_release_of_songs_is_not_found(tmp_path: Path) -> None:
    touch(tmp_path, ["03-02-05-01-01-01-07"])
    with pytest.raises(CorpusError, match=r"RAVDESS not found: .* holds Actor_07/"):
        RAVDESS(tmp_path).utterances()


@pytest.mark.parametrize("spelling", ["actor_07/{}.wav", "ACTOR_07/{}.WAV", "Actor_07/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("03-01-05-01-01-01-07")
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in RAVDESS(tmp_path).utterances()] == [path]


# What is missing.


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    names = [name for name in ravdess_names() if name[-2:] != "24" and name[6:8] != "02"]
    names.remove("03-01-05-01-01-01-07")
    with pytest.warns(SERZooWarning) as caught:
        rows = RAVDESS(touch(tmp_path, names)).utterances()
    assert len(rows) == 23 * 52 - 1
    assert str(caught[0].message) == (
        f"RAVDESS at {tmp_path} is not complete: 1195 of 1440 utterances. "
        "Missing: actor 24; emotion calm; 03-01-05-01-01-01-07. Going on with what is there."
    )


# What is refused.


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no folder .*nowhere\. Expected the unpacked release, .*Actor_01/ \.\.\. Actor_24/"):
        RAVDESS(tmp_path / "nowhere").utterances()


@pytest.mark.parametrize(
    ("wrong", "found"),
    [(".", "holds ravdess/"), ("ravdess/Actor_01", "holds 03-01-01-01-01-01-01.wav, .* and 54 more")],
)
def test_a_folder_above_or_below_the_root_is_refused(ravdess: Path, wrong: str, found: str) -> None:
    corpus = RAVDESS(ravdess.parent / wrong)
    with pytest.raises(CorpusError, match=rf"{found}.*Expected the unpacked release, with the folders Actor_01/"):
        corpus.utterances()
    assert not corpus.found()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds nothing\. Expected"):
        RAVDESS(tmp_path).utterances()


@pytest.mark.parametrize(
    "name",
    [
        "03-01-09-01-01-01-07",
        "03-01-05-03-01-01-07",
        "03-01-05-01-01-01-25",
        "03-01-05-01-01-01-00",
        "03-01-05-01-01-07",
        "04-01-05-01-01-01-07",
        "03-01-05-01-01-01-07 (1)",
    ],
)
def test_a_name_outside_the_grammar_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "Actor_07" / f"{name}.wav"
    path.parent.mkdir()
    path.touch()
    with pytest.raises(CorpusError, match=r"unexpected file name .* in .*Actor_07\. Expected names like 03-01-05-02-01-01-07"):
        RAVDESS(tmp_path).utterances()


def test_the_same_utterance_as_wav_and_flac_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["03-01-05-01-01-01-07"])
    touch(tmp_path, ["03-01-05-01-01-01-07"], ".flac")
    with pytest.raises(CorpusError, match=r"two files for utterance 03-01-05-01-01-01-07: .*\.flac and .*\.wav"):
        RAVDESS(tmp_path).utterances()


def test_what_other_systems_leave_behind_is_passed_over(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    touch(tmp_path, ravdess_names())
    for name in ("._03-01-05-01-01-01-07.wav", ".DS_Store"):
        (tmp_path / "Actor_07" / name).touch()
    assert len(RAVDESS(tmp_path).utterances()) == 1440
    assert not recwarn.list


# Against what is published.


@needs_card
@pytest.mark.parametrize("protocol", ["actors6", "luna5"])
def test_folds_are_those_published(ravdess: Path, protocol: str) -> None:
    rows = RAVDESS(ravdess).utterances()
    folds = json.loads(CARD.read_text())["protocols"][protocol]["folds"]
    assert find_protocol("ravdess", protocol).folds == len(folds)
    for fold, published in folds.items():
        split = find_protocol("ravdess", protocol).split(int(fold), rows)
        for side, name in zip(split, ("train", "val", "test"), strict=True):
            assert {row.speaker for row in side} == set(published[name])
            assert len(side) == published["n"][name]
        assert Counter(row.original_label.title() for row in split.test) == published["test_classes"]


@needs_recordings
def test_the_recordings_that_are_here_are_complete() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = RAVDESS(REAL).utterances()
    assert Counter(row.label for row in rows) == CLASSES


def test_a_fake_release_is_written_as_the_names_say(tmp_path: Path) -> None:
    root = write_ravdess(tmp_path, ravdess_names(["01", "02"], ["01", "05"], takes=1))
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*.wav")) == [
        "Actor_01/03-01-01-01-01-01-01.wav",
        "Actor_01/03-01-05-01-01-01-01.wav",
        "Actor_02/03-01-01-01-01-01-02.wav",
        "Actor_02/03-01-05-01-01-01-02.wav",
    ]
