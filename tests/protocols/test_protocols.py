from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from ser_zoo.corpora import CORPORA, Utterance
from ser_zoo.corpora.demo import SPEAKERS
from ser_zoo.errors import LeakError, ProtocolError, UnknownNameError
from ser_zoo.protocols import PROTOCOLS, Protocol, Split, check_split, find_protocol, protocols_of
from tests.releases import EMO_DB_COUNTS, RAVDESS_ACTORS

SPEAKERS_OF = {
    "demo": [speaker.name for speaker in SPEAKERS],
    "emo_db": list(EMO_DB_COUNTS),
    "ravdess": list(RAVDESS_ACTORS),
}
# Of the rules whose numbers are published. Where one changes on purpose, raise the protocol's version with it.
HASHES = {
    ("emo_db", "loso10", 1): "a2642d0482c2",
    ("emo_db", "pairs5", 1): "ffbf82c6d6cb",
    ("demo", "pairs4", 1): "f6228473741b",
    ("ravdess", "actors6", 1): "cb6e4bd19173",
    ("ravdess", "luna5", 1): "6e870689a77d",
}

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: f"{protocol.corpus}-{protocol.name}")


def utterance(key: str, speaker: str, session: str | None = None) -> Utterance:
    return Utterance(id=key, path=Path(f"{key}.wav"), speaker=speaker, label="anger", original_label="W", session=session)


def utterances(speakers: Iterable[str], takes: int = 3) -> list[Utterance]:
    return [utterance(f"{speaker}-{take}", speaker) for speaker in speakers for take in range(takes)]


def ids(split: Split) -> list[list[str]]:
    return [[row.id for row in side] for side in split]


def speakers(side: list[Utterance]) -> set[str]:
    return {row.speaker for row in side}


THREE = Protocol(name="three", corpus="toy", version=1, groups=(("a", "b"), ("c",), ("d",)), source="a test")


# What every protocol keeps.


@every_protocol
def test_every_speaker_is_tested_in_exactly_one_fold(protocol: Protocol) -> None:
    everyone = SPEAKERS_OF[protocol.corpus]
    rows = utterances(everyone)
    tested = Counter(speaker for fold in range(1, protocol.folds + 1) for speaker in speakers(protocol.split(fold, rows).test))
    assert tested == dict.fromkeys(everyone, 1)


@every_protocol
def test_every_speaker_validates_in_exactly_one_fold(protocol: Protocol) -> None:
    everyone = SPEAKERS_OF[protocol.corpus]
    rows = utterances(everyone)
    validated = Counter(
        speaker for fold in range(1, protocol.folds + 1) for speaker in speakers(protocol.split(fold, rows).validation)
    )
    assert validated == dict.fromkeys(everyone, 1)


@every_protocol
def test_sides_share_no_speaker_and_lose_no_utterance(protocol: Protocol) -> None:
    rows = utterances(SPEAKERS_OF[protocol.corpus])
    for fold in range(1, protocol.folds + 1):
        split = protocol.split(fold, rows)
        assert not speakers(split.train) & speakers(split.validation)
        assert not speakers(split.train) & speakers(split.test)
        assert not speakers(split.validation) & speakers(split.test)
        assert sorted(key for side in ids(split) for key in side) == sorted(row.id for row in rows)


@every_protocol
@pytest.mark.parametrize("seed", range(3))
def test_a_split_does_not_depend_on_the_order_of_utterances(protocol: Protocol, seed: int) -> None:
    rows = utterances(SPEAKERS_OF[protocol.corpus])
    shuffled = random.Random(seed).sample(rows, len(rows))
    for fold in range(1, protocol.folds + 1):
        assert [sorted(side) for side in ids(protocol.split(fold, shuffled))] == [
            sorted(side) for side in ids(protocol.split(fold, rows))
        ]


@every_protocol
def test_a_split_is_the_same_each_time(protocol: Protocol) -> None:
    rows = utterances(SPEAKERS_OF[protocol.corpus])
    assert protocol.split(2, rows) == protocol.split(2, rows)


@every_protocol
def test_the_rule_has_the_hash_that_its_version_was_published_with(protocol: Protocol) -> None:
    assert HASHES[protocol.corpus, protocol.name, protocol.version] == protocol.hash


def test_the_rule_of_a_rotation() -> None:
    rows = utterances("abcd", takes=1)
    assert [[speakers(side) for side in THREE.split(fold, rows)] for fold in (1, 2, 3)] == [
        [{"d"}, {"c"}, {"a", "b"}],
        [{"a", "b"}, {"d"}, {"c"}],
        [{"c"}, {"a", "b"}, {"d"}],
    ]


def test_sides_keep_the_order_of_utterances() -> None:
    rows = [utterance("2", "a"), utterance("1", "b"), utterance("4", "c"), utterance("3", "d"), utterance("0", "a")]
    assert ids(THREE.split(1, rows))[2] == ["2", "1", "0"]


def test_sessions_can_be_rotated_instead_of_speakers() -> None:
    sessions = replace(THREE, groups=(("s1",), ("s2",), ("s3",)), unit="session")
    rows = [utterance(f"{speaker}{take}", speaker, f"s{take}") for speaker in "xy" for take in (1, 2, 3)]
    assert ids(sessions.split(2, rows)) == [["x1", "y1"], ["x3", "y3"], ["x2", "y2"]]


# The table.


@pytest.mark.parametrize("corpus", sorted(CORPORA))
def test_the_default_of_every_corpus_is_honest(corpus: str) -> None:
    default = find_protocol(corpus)
    assert (default.corpus, default.world, default.declared_leaks) == (corpus, "honest", ())
    assert next(iter(protocols_of(corpus))) == default.name


def test_names_are_unique_within_a_corpus() -> None:
    assert max(Counter((protocol.corpus, protocol.name) for protocol in PROTOCOLS).values()) == 1


def test_a_protocol_is_found_by_name() -> None:
    assert find_protocol("ravdess", "luna5").name == "luna5"


def test_an_unknown_protocol_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown protocol of emo_db 'loso'\. Did you mean loso10\?"):
        find_protocol("emo_db", "loso")


def test_a_protocol_of_another_corpus_is_unknown() -> None:
    with pytest.raises(UnknownNameError, match=r"protocol of emo_db 'actors6'"):
        find_protocol("emo_db", "actors6")


# What is refused.


@pytest.mark.parametrize("fold", [0, 4, -1])
def test_a_fold_that_does_not_exist_is_refused(fold: int) -> None:
    with pytest.raises(ProtocolError, match=f"Protocol three of toy has folds 1 to 3; fold {fold} was asked for"):
        THREE.split(fold, utterances("abcd"))


def test_a_speaker_that_the_protocol_does_not_place_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"three does not place speaker e \(utterance e-0\)\. It knows a, b, c, d\."):
        THREE.split(1, utterances("abcde"))


@pytest.mark.parametrize(("fold", "side", "who"), [(1, "validation", "c"), (2, "test", "c"), (3, "train", "c")])
def test_a_side_without_utterances_is_refused(fold: int, side: str, who: str) -> None:
    with pytest.raises(ProtocolError, match=f"Fold {fold} of protocol three has no {side} utterances: speaker {who} is not"):
        THREE.split(fold, utterances("abd"))


def test_a_side_that_is_only_smaller_is_let_pass() -> None:
    assert speakers(THREE.split(1, utterances("acd")).test) == {"a"}


def test_an_utterance_without_session_is_refused_where_sessions_rotate() -> None:
    sessions = replace(THREE, unit="session")
    with pytest.raises(ProtocolError, match="rotates sessions, but a-0 has none"):
        sessions.split(1, utterances("abcd"))


# The hash.


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"corpus": "other"},
        {"version": 2},
        {"groups": (("a",), ("b", "c"), ("d",))},
        {"groups": (("c",), ("a", "b"), ("d",))},
        {"unit": "session"},
        {"world": "as_published"},
        {"world": "as_published", "declared_leaks": ("speaker",)},
    ],
    ids=lambda change: "-".join(change),
)
def test_the_hash_changes_with_the_rule(change: dict[str, object]) -> None:
    assert replace(THREE, **change).hash != THREE.hash  # type: ignore[arg-type]


def test_the_hash_does_not_change_with_the_prose() -> None:
    assert replace(THREE, source="said better").hash == THREE.hash


# Leaks.


def content(split: Split) -> dict[str, str]:
    """Audio that is different everywhere."""
    return {row.id: f"hash of {row.id}" for side in split for row in side}


def test_a_clean_split_passes() -> None:
    split = THREE.split(1, utterances("abcd"))
    check_split(split, THREE, content(split))


@pytest.mark.parametrize("sides", [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_a_shared_speaker_is_found_between_any_two_sides(sides: tuple[str, str]) -> None:
    split = Split(*([utterance(side, "one" if side in sides else side)] for side in Split._fields))
    with pytest.raises(LeakError) as caught:
        check_split(split, THREE, content(split))
    assert str(caught.value) == (
        f"Protocol three of toy would leak: the same speaker is in {sides[0]} and in {sides[1]}: "
        f"one ({sides[0]}, {sides[1]}). Remove the duplicates, or use a protocol that declares it."
    )


def test_a_shared_recording_is_found() -> None:
    split = Split([utterance("1", "a")], [utterance("2", "b")], [replace(utterance("3", "c"), path=Path("1.wav"))])
    with pytest.raises(LeakError, match=r"the same recording is in train and in test: 1\.wav@0\.0-None \(1, 3\)"):
        check_split(split, THREE, content(split))


def test_other_stretches_of_one_recording_are_no_leak() -> None:
    dialogue = [replace(utterance(f"{at}", f"{at}"), path=Path("dialogue.wav"), start=at, end=at + 1.0) for at in range(3)]
    split = Split([dialogue[0]], [dialogue[1]], [dialogue[2]])
    check_split(split, THREE, content(split))


def test_identical_audio_is_found() -> None:
    split = Split([utterance("1", "a")], [utterance("2", "b")], [utterance("3", "c")])
    with pytest.raises(LeakError, match=r"the same audio is in validation and in test: x \(2, 3\)"):
        check_split(split, THREE, {"1": "y", "2": "x", "3": "x"})


def test_identical_audio_on_one_side_is_no_leak() -> None:
    split = Split(utterances("a", takes=2), [utterance("2", "b")], [utterance("3", "c")])
    check_split(split, THREE, content(split) | {"a-0": "x", "a-1": "x"})


def test_a_long_list_of_leaks_is_cut() -> None:
    split = Split(utterances("abcdefg", 1), utterances("abcdefg", 1), [utterance("3", "z")])
    with pytest.raises(LeakError, match=r"a \(a-0, a-0\), .*, e \(e-0, e-0\) and 2 more\."):
        check_split(split, THREE, content(split))


def test_leaks_that_are_declared_pass_and_others_do_not() -> None:
    split = Split([utterance("1", "a")], [utterance("2", "b")], [utterance("3", "a")])
    leaky = replace(THREE, world="as_published", declared_leaks=("speaker",))
    check_split(split, leaky, content(split))
    with pytest.raises(LeakError, match="the same audio"):
        check_split(split, leaky, content(split) | {"1": "x", "2": "x"})


def test_an_honest_protocol_cannot_declare_leaks() -> None:
    with pytest.raises(ValueError, match="three: an honest protocol declares no leaks"):
        replace(THREE, declared_leaks=("speaker",))
