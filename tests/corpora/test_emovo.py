from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.emovo import EMOVO
from ser_zoo.data.audio import read_audio
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.emovo import MONO, write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "emovo", seconds=None)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(EMOVO(complete))
    assert Counter(row.label for row in rows) == EMOVO.counts
    assert Counter(row.gender for row in rows) == {"female": 294, "male": 294}
    assert set(Counter(row.text for row in rows).values()) == {42}


def test_names_and_counts_are_those_published(complete: Path) -> None:
    assert_agrees(read_complete(EMOVO(complete)), card("emovo"))


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/m2/gio-m2-n5.wav")
    assert EMOVO("x").parse(path) == Utterance(
        id="gio-m2-n5",
        path=path,
        speaker="m2",
        label="happiness",
        original_label="gio",
        gender="male",
        text="n5",
        language="it",
    )


def test_channels_are_averaged_and_the_mono_file_is_read_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, 0.02, ["f1"], ["b1"])
    with pytest.warns(SERZooWarning):
        rows = {row.id: row.path for row in EMOVO(tmp_path).utterances()}
    stereo, _ = soundfile.read(rows["dis-f1-b1"], dtype="float32")
    mono, _ = soundfile.read(rows[MONO], dtype="float32")
    assert (stereo.ndim, mono.ndim) == (2, 1)
    np.testing.assert_allclose(read_audio(rows["dis-f1-b1"])[0], stereo.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(read_audio(rows[MONO])[0], mono)


@pytest.mark.parametrize(("task", "count"), [("7class", 588), ("6class", 504), ("4class", 336)])
def test_tasks_take_their_part_of_the_release(complete: Path, task: str, count: int) -> None:
    assert len(read_complete(EMOVO(complete, task))) == count


@pytest.mark.parametrize("spelling", ["F1/{}.wav", "f1/{}.WAV", "f1/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format(MONO)
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in EMOVO(tmp_path).utterances()] == [path]


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"98 of 588 utterances. Missing: disgust 70 of 84; "):
        EMOVO(write(tmp_path, None, ["m3"])).utterances()


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(EMOVO, write(tmp_path / "emovo", None, ["f1"]), "f1")


@pytest.mark.parametrize("name", ["rab-f4-b1", "rab-f1-b4", "ira-f1-b1", "rab-f1", "rab_f1_b1", "rab-f1-b1 (1)"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"EMOVO: unexpected file name .* Expected names like rab-f1-b1\.wav"):
        EMOVO("x").parse(Path("x/f1") / f"{name}.wav")
