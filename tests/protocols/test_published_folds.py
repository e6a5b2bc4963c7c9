"""Folds against lists and counts that others published or that were counted from the releases."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.protocols import Split, check_split, find_protocol
from tests.protocols.toy import content, speakers, utterance

CARDS = Path(__file__).parents[3] / "shared" / "corpora"
pytestmark = pytest.mark.skipif(not CARDS.is_dir(), reason="needs the reference cards of the corpora, which are not public")
FILES = {
    "aesdd": "aesdd",
    "ased": "ased",
    "baved": "baved",
    "cafe": "cafe",
    "casia": "casia",
    "emo_db": "emodb",
    "emov_db": "emovdb",
    "emovo": "emovo",
    "enterface": "enterface",
    "esd": "esd",
    "iemocap": "iemocap",
    "jl_corpus": "jlcorpus",
    "mead": "mead",
    "mesd": "mesd",
    "msp_improv": "msp_improv",
    "nemo": "nemo",
    "oreau": "oreau",
    "polish": "polish",
    "ravdess": "ravdess",
    "savee": "savee",
    "shemo": "shemo",
    "subesco": "subesco",
    "turev_db": "turevdb",
}
# What this package calls otherwise.
NAMES = {"luna5_reslstm_val": "luna5_reslstm"}
GENDERS = {"F": "female", "M": "male"}


def card(corpus: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CARDS / f"{FILES[corpus]}.json").read_text())
    return read


def table(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(CARDS / f"{name}.csv.gz", "rt") as file:
        yield from csv.DictReader(file)


@cache
def rows_of(corpus: str) -> list[Utterance]:
    """As many utterances as each speaker has."""
    rows = []
    for speaker, counted in card(corpus)["speakers"].items():
        known = counted if isinstance(counted, dict) else {"n": counted}
        rows += [
            utterance(f"{speaker}-{take}", speaker, gender=GENDERS.get(known.get("gender", ""))) for take in range(known["n"])
        ]
    return rows


def published() -> Iterator[tuple[str, str]]:
    for corpus in FILES if CARDS.is_dir() else ():
        for name, rule in card(corpus)["protocols"].items():
            if isinstance(rule, dict) and rule.get("folds"):
                yield corpus, name


def numbers(split: Split) -> dict[str, int]:
    return {"train": len(split.train), "val": len(split.validation), "test": len(split.test)}


def crema_d() -> list[Utterance]:
    stems = [row["file"].removesuffix(".wav") for row in table("cremad_wav_sha256")]
    return [utterance(stem, stem[:4], text=stem[5:8], label=stem[9:12]) for stem in stems]


@pytest.mark.parametrize(("corpus", "name"), list(published()))
def test_folds_have_the_published_speakers_and_counts(corpus: str, name: str) -> None:
    rows = rows_of(corpus)
    protocol = find_protocol(corpus, NAMES.get(name, name))
    folds = card(corpus)["protocols"][name]["folds"]
    assert protocol.folds == len(folds)
    for number, fold in folds.items():
        split = protocol.split(int(number), rows)
        assert [speakers(side) for side in split] == [set(fold[side]) for side in ("train", "val", "test")]
        assert numbers(split) == fold["n"]


@pytest.mark.parametrize(
    "corpus", ["cafe", "casia", "emovo", "esd", "iemocap", "jl_corpus", "polish", "ravdess", "savee", "subesco"]
)
def test_speaker_disjoint_folds_of_emobox_are_those_it_ships(corpus: str) -> None:
    rows = rows_of(corpus)
    protocol, shared = (find_protocol(corpus, name) for name in ("emobox", "emobox_utterances"))
    folds = card(corpus)["emobox"]["folds"]
    assert (protocol.folds, protocol.world) == (len(folds), "honest")
    for number, fold in folds.items():
        split = protocol.split(int(number.removeprefix("fold_")), rows)
        assert speakers(split.test) == set(fold["test_speakers"])
        assert len(split.test) == fold["n"]["test"]
        trained = fold["n"].get("train", len(rows) - len(split.test))
        assert len(split.train) + len(split.validation) == trained
        again = shared.split(int(number.removeprefix("fold_")), rows)
        assert again.test == split.test
        assert len(again.train) + len(again.validation) == trained
        assert speakers(again.train) == speakers(split.train) | speakers(split.validation)
        assert len(again.validation) == pytest.approx(trained / 5, abs=1)


def test_halves_of_iemocap_are_no_speakers() -> None:
    known = list(table("iemocap_index"))
    rows = [utterance(row["utterance"], row["speaker"], row["session"]) for row in known]
    split = find_protocol("iemocap", "as_cross_attn").split(1, rows)
    assert numbers(split)["test"] == 553
    half = [row for row in (*split.validation, *split.test) if row.id.startswith("Ses01F")]
    # Counted from the list that the paper's code has with it.
    assert Counter(row.speaker for row in half) == {"Ses01F": 237, "Ses01M": 270}


def test_crema_d_has_the_folds_of_emo_superb() -> None:
    rows = crema_d()
    for number, fold in json.loads((CARDS / "cremad.json").read_text())["protocols"]["emo_superb5"]["folds"].items():
        assert numbers(find_protocol("crema_d").split(int(number), rows)) == fold["n"]


def test_crema_d_has_the_split_of_tensorflow_datasets() -> None:
    split = find_protocol("crema_d", "tfds").split(1, crema_d())
    assert numbers(split) == {"train": 5144, "val": 738, "test": 1556}


def test_every_utterance_of_crema_d_is_tested_once_with_texts_apart() -> None:
    rows = crema_d()
    protocol = find_protocol("crema_d", "text_independent")
    splits = [protocol.split(fold, rows) for fold in range(1, protocol.folds + 1)]
    assert sorted(row.id for split in splits for row in split.test) == sorted(row.id for row in rows)
    for split in splits:
        assert len({row.label for row in split.test}) == 6
        check_split(split, protocol, content(split))


def test_tess_validates_with_every_fifth_of_its_words() -> None:
    words = json.loads((CARDS / "tess.json").read_text())["words"]
    rows = [
        utterance(f"{speaker}_{word}_{emotion}", speaker, text=word)
        for speaker in ("OAF", "YAF")
        for word in words
        for emotion in range(7)
    ]
    protocol = find_protocol("tess")
    for fold, speaker in ((1, "OAF"), (2, "YAF")):
        split = protocol.split(fold, rows)
        assert speakers(split.test) == {speaker}
        assert {row.text for row in split.validation} == set(words[::5])
        assert numbers(split) == {"train": 1120, "val": 280, "test": 1400}
        check_split(split, protocol, content(split))


def test_resd_keeps_ten_dialogues_together() -> None:
    rule = json.loads((CARDS / "resd.json").read_text())["protocols"]["dialogue5"]
    dialogues = [f"{number:02d}" for number in range(1, 51)]
    rows = [utterance(f"{dialogue}_{part}", f"{dialogue}_{part}", dialogue) for dialogue in dialogues for part in "ab"]
    for number, fold in rule["folds"].items():
        split = find_protocol("resd").split(int(number), rows)
        assert [{row.session for row in side} for side in split] == [set(fold[side]) for side in ("train", "val", "test")]
