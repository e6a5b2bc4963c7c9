"""EmoBox's lists, read from a copy of EmoBox that the tests write."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.errors import ProtocolError, SERZooWarning
from ser_zoo.protocols import PROTOCOLS, check_split
from ser_zoo.protocols.emobox import VARIABLE, EmoBoxLists, tail, unique_depth
from tests.protocols.toy import content, ids, utterance

TEST = ["W01/level_1/001.m4a", "W02/level_1/001.m4a"]
TRAIN = [f"W{speaker:02d}/level_2/00{number}.m4a" for speaker in (1, 2) for number in range(1, 6)]
LISTS = EmoBoxLists(
    name="emobox",
    corpus="toy",
    version=1,
    theirs="box",
    digests=(hashlib.sha256("\n".join(f"box-{path}" for path in TEST).encode()).hexdigest()[:12],),
    source="a test",
    world="as_published",
    declared_leaks=("speaker",),
)


def write(root: Path, test: Sequence[str] = TEST, train: Sequence[str] = TRAIN) -> Path:
    folder = root / "data" / "box" / "fold_1"
    folder.mkdir(parents=True)
    for part, paths in (("test", test), ("train", train)):
        lines = [json.dumps({"key": f"box-{path}", "wav": f"downloads/box/{path}", "emo": "sad"}) for path in paths]
        (folder / f"box_{part}_fold_1.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return write(tmp_path)


def recordings(paths: Sequence[str] = (*TEST, *TRAIN)) -> list[Utterance]:
    """As ``ser-zoo prepare`` leaves them: wav files, here in folders of another case."""
    return [
        replace(utterance(path, path[:3]), path=Path("/data/toy") / Path(path.replace("level", "Level")).with_suffix(".wav"))
        for path in paths
    ]


def test_the_lists_are_those_of_emobox_and_a_fifth_of_training_validates(box: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = LISTS.split(1, recordings())
    assert ids(split)[2] == TEST
    assert (len(split.train), len(split.validation)) == (8, 2)
    assert sorted(ids(split)[0] + ids(split)[1]) == TRAIN
    check_split(split, LISTS, content(split))
    backwards = LISTS.split(1, recordings()[::-1])
    assert [sorted(side) for side in ids(backwards)] == [sorted(side) for side in ids(split)]


def test_a_part_of_a_release_is_split_as_the_whole_tests(box: Path) -> None:
    assert ids(LISTS.split(1, recordings([TEST[1], *TRAIN])))[2] == [TEST[1]]


def test_lists_in_another_order_are_the_same_lists(box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "other", TEST[::-1], TRAIN[::-1])
    split = ids(LISTS.split(1, recordings()))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "other"))
    assert ids(LISTS.split(1, recordings())) == split


def test_utterances_that_are_not_listed_are_left_out_with_a_warning(box: Path) -> None:
    with pytest.warns(
        SERZooWarning, match=r"does not list 1 of 13 utterances of toy; protocol emobox leaves them out: W09/new\.m4a\."
    ):
        split = LISTS.split(1, recordings([*TEST, *TRAIN, "W09/new.m4a"]))
    assert sum(len(side) for side in split) == 12


def test_files_that_emobox_renamed_are_known_by_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    test = ["OAF_bite_neutral.wav"]
    write(tmp_path, test, [f"OAF_{number}_sad.wav" for number in range(5)])
    digest = hashlib.sha256(b"box-OAF_bite_neutral.wav").hexdigest()[:12]
    lists = replace(LISTS, digests=(digest,), renamed=(("oa_bite_neutral", "oaf_bite_neutral"),))
    rows = recordings(["OA_bite_neutral.wav", *(f"OAF_{number}_sad.wav" for number in range(5))])
    assert ids(lists.split(1, rows))[2] == ["OA_bite_neutral.wav"]


def test_without_a_copy_of_emobox_the_user_is_told_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ProtocolError, match=r"\$SER_ZOO_EMOBOX is not set\. Clone https://.* at commit 08280f2 and set"):
        LISTS.split(1, recordings())


@pytest.mark.parametrize("part", ["test", "train"])
def test_a_list_that_is_missing_is_named(box: Path, part: str) -> None:
    (box / f"box_{part}_fold_1.jsonl").unlink()
    with pytest.raises(ProtocolError, match=f"there is no .*box_{part}_fold_1.jsonl. Expected a clone"):
        LISTS.split(1, recordings())


def test_the_lists_of_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    write(tmp_path, [*TEST, "W03/level_1/001.m4a"])
    with pytest.raises(ProtocolError, match=r"lists other utterances than EmoBox at commit 08280f2: 3 keys of digest"):
        LISTS.split(1, recordings())


@pytest.mark.parametrize("line", ['{"key": "box-1"', '{"key": "box-1"}', '"box-1"'])
def test_a_line_that_is_broken_is_named(box: Path, line: str) -> None:
    path = box / "box_train_fold_1.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ProtocolError, match=r"box_train_fold_1\.jsonl, line 11: expected a JSON object with key and wav"):
        LISTS.split(1, recordings())


def test_another_corpus_is_refused(box: Path) -> None:
    with pytest.raises(ProtocolError, match=r"does not list 2 of 13 .* for example downloads/box/W01/level_2/001\.m4a\."):
        LISTS.split(1, recordings([*TEST, *TRAIN[:9], "W01/elsewhere/1.wav", "W01/elsewhere/2.wav"]))


def test_a_release_without_the_files_that_are_tested_is_refused(box: Path) -> None:
    with pytest.raises(ProtocolError, match="no test utterances: no file that EmoBox lists for test is in this incomplete"):
        LISTS.split(1, recordings(TRAIN))


def test_paths_are_told_apart_by_no_more_folders_than_are_needed() -> None:
    assert unique_depth(["a/b/1.wav", "a/c/2.wav"]) == 1
    assert unique_depth(["a/b/1.wav", "a/c/1.wav"]) == 2
    assert tail("/data/Ore\u0301auFR/X.WAV", 2) == "or\u00e9aufr/x"


@pytest.mark.parametrize(
    "protocol", [item for item in PROTOCOLS if isinstance(item, EmoBoxLists)], ids=lambda item: item.corpus
)
def test_emobox_lists_are_marked_for_sharing_speakers(protocol: EmoBoxLists) -> None:
    assert (protocol.name, protocol.world, protocol.declared_leaks[0]) == ("emobox", "as_published", "speaker")
