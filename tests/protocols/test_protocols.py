from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_zoo.corpora import CORPORA
from ser_zoo.errors import LeakError, ProtocolError, UnknownNameError
from ser_zoo.protocols import (
    PROTOCOLS,
    Leak,
    Protocol,
    RandomRows,
    RandomTest,
    Rotation,
    Row,
    Split,
    check_split,
    find_protocol,
    protocols_of,
)
from ser_zoo.protocols.base import draw
from ser_zoo.protocols.emobox import EmoBoxLists
from ser_zoo.protocols.kinds import Prefixes
from ser_zoo.protocols.table import WITHOUT
from tests.protocols.toy import content, ids, members, release, speakers, utterance, utterances, who_is_tested

# Of the rules whose numbers are published. Where one changes on purpose, raise the protocol's version with it.
HASHES_FILE = Path(__file__).parent / "hashes.json"
HASHES = json.loads(HASHES_FILE.read_text())
# EmoBox's lists need a copy of EmoBox: see test_emobox.py.
HERE = [protocol for protocol in PROTOCOLS if not isinstance(protocol, EmoBoxLists)]


def over(protocols: Iterable[Protocol]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("protocol", protocols, ids=lambda protocol: f"{protocol.corpus}-{protocol.name}")


every_protocol = over(HERE)
every_honest_protocol = over([protocol for protocol in HERE if protocol.world == "honest"])
every_leaky_protocol = over([protocol for protocol in HERE if protocol.world == "as_published"])
every_plain_rotation = over([protocol for protocol in HERE if type(protocol) is Rotation and protocol.world == "honest"])


THREE = Rotation(name="three", corpus="toy", version=1, groups=(("a", "b"), ("c",), ("d",)), source="a test")
TENTH = RandomTest(
    name="tenth",
    corpus="toy",
    version=1,
    groups=THREE.groups,
    share=0.1,
    seed=42,
    source="a test",
    world="as_published",
    declared_leaks=("speaker",),
)
ROWS = RandomRows(
    name="rows",
    corpus="toy",
    version=1,
    variants=((), ("noise",), ("pitch", "noise")),
    share=0.2,
    seed=42,
    source="a test",
    world="as_published",
    declared_leaks=("speaker", "recording", "validation is test"),
)


# What every honest protocol keeps.


@every_honest_protocol
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_every_utterance_is_tested_in_one_fold_by_speakers_who_are_not_heard_before(protocol: Protocol, seed: int) -> None:
    rows = release(protocol, seed=seed)
    counts: Counter[str] = Counter()
    for fold in range(1, protocol.folds_of(rows) + 1):
        split = protocol.split(fold, rows)
        counts.update(row.id for row in split.test)
        placed = [row.id for side in split for row in side]
        assert len(set(placed)) == len(placed)
        assert not speakers(split.test) & (speakers(split.train) | speakers(split.validation))
        if not protocol.declared_leaks:
            assert not speakers(split.train) & speakers(split.validation)
        check_split(split, protocol, content(split))
    if protocol.name != "official":
        assert counts == dict.fromkeys((row.id for row in rows if row.speaker in who_is_tested(protocol)), 1)


@every_plain_rotation
def test_every_speaker_validates_in_one_fold_of_a_rotation_that_loses_no_utterance(protocol: Protocol) -> None:
    rows = release(protocol)
    splits = [protocol.split(fold, rows) for fold in range(1, protocol.folds + 1)]
    validated = Counter(speaker for split in splits for speaker in speakers(split.validation))
    assert validated == dict.fromkeys(members(protocol), 1)
    assert all(sorted(key for side in ids(split) for key in side) == sorted(row.id for row in rows) for split in splits)


# What every protocol keeps.


@every_protocol
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_a_split_is_the_same_each_time_and_in_any_order_of_utterances(protocol: Protocol, seed: int) -> None:
    rows = release(protocol, takes=12, seed=seed)  # enough that no random test takes all of a speaker
    for fold in {1, protocol.folds_of(rows)}:
        once = protocol.split(fold, rows)
        assert protocol.split(fold, rows) == once
        ordered = protocol.split(fold, sorted(rows, key=lambda row: row.id))
        assert [sorted(side) for side in ids(ordered)] == [sorted(side) for side in ids(once)]


@over([*PROTOCOLS, *(find_protocol(corpus, "random5") for corpus in sorted(CORPORA))])
def test_the_rule_has_the_hash_that_its_version_was_published_with(protocol: Protocol) -> None:
    key = f"{protocol.corpus} {protocol.name} {protocol.version}"
    assert HASHES.get(key) == protocol.hash, f'a new protocol or version needs a line "{key}" in {HASHES_FILE}'


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


@pytest.mark.parametrize("corpus", sorted(CORPORA.keys() - WITHOUT))
def test_the_default_of_every_corpus_is_honest(corpus: str) -> None:
    default = find_protocol(corpus)
    # With two speakers, the one who is not tested has to train and validate.
    leaks = ("validation speaker",) if corpus == "tess" else ()
    assert (default.corpus, default.world, default.declared_leaks) == (corpus, "honest", leaks)
    assert next(iter(protocols_of(corpus))) == default.name


@pytest.mark.parametrize("corpus", WITHOUT)
def test_a_corpus_without_an_honest_protocol_says_why_and_what_to_do(corpus: str) -> None:
    with pytest.raises(ProtocolError, match=f"{corpus} has no honest protocol.*speaker.*Use it as test data.*random5"):
        find_protocol(corpus)


@pytest.mark.parametrize("corpus", ["emns", "ravdess", "csv"])
def test_every_corpus_has_random_folds_in_their_own_world(corpus: str) -> None:
    protocol = find_protocol(corpus, "random5")
    assert (protocol.corpus, protocol.world, protocol.declared_leaks[0]) == (corpus, "as_published", "speaker")


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


@pytest.mark.parametrize("change", [{"share": 0.2}, {"seed": 1}, {"groups": (("a",), ("b",))}])
def test_the_hash_of_a_random_test_changes_with_its_draw(change: dict[str, object]) -> None:
    assert replace(TENTH, **change).hash != TENTH.hash  # type: ignore[arg-type]


def test_the_hash_tells_kinds_of_equal_fields_apart() -> None:
    class Other(RandomRows):
        kind = "other"

    same = {field.name: getattr(ROWS, field.name) for field in fields(ROWS)}
    assert Other(**same).hash != ROWS.hash


def test_the_hash_does_not_change_with_the_prose() -> None:
    assert replace(THREE, source="said better").hash == THREE.hash


# Leaks.


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


@pytest.mark.parametrize("leak", ["speaker", "recording", "audio", "validation is test"])
def test_an_honest_protocol_cannot_declare_leaks(leak: Leak) -> None:
    with pytest.raises(ValueError, match="three: an honest protocol declares no leaks"):
        replace(THREE, declared_leaks=(leak,))


def test_declared_validation_speakers_may_train_and_nothing_else() -> None:
    one = replace(THREE, declared_leaks=("validation speaker",))
    rows = [utterance("1", "a"), utterance("2", "a"), utterance("3", "b")]
    split = Split(*([row] for row in rows))
    check_split(split, one, content(split))
    with pytest.raises(LeakError, match="the same audio is in train and in validation"):
        check_split(split, one, content(split) | {"1": "x", "2": "x"})
    for place, side in enumerate(("train", "validation")):
        tested = Split(*([row] for row in [rows[0], rows[2], replace(rows[1], speaker="a" if place == 0 else "b")]))
        with pytest.raises(LeakError, match=f"the same speaker is in {side} and in test"):
            check_split(tested, one, content(tested))


# The world of what was published.


@every_leaky_protocol
def test_it_has_every_leak_that_it_declares_and_no_other(protocol: Protocol) -> None:
    split = protocol.split(1, release(protocol, takes=8))
    check_split(split, protocol, content(split))
    for leak in set(protocol.declared_leaks) - {"audio"}:  # nothing here sounds like anything else
        without = tuple(item for item in protocol.declared_leaks if item != leak)
        if isinstance(protocol, RandomRows) and leak == "validation is test":
            continue  # a kind that has no validation side otherwise
        with pytest.raises(LeakError):
            check_split(split, replace(protocol, declared_leaks=without), content(split))


@every_leaky_protocol
def test_nothing_is_lost_or_doubled_between_train_and_test(protocol: Protocol) -> None:
    rows = release(protocol, takes=8)
    variants = len(protocol.variants) if isinstance(protocol, RandomRows) else 1
    left_out = int(protocol.share * len(rows)) if isinstance(protocol, Prefixes) and protocol.validates_on_test else 0
    for fold in range(1, protocol.folds + 1):
        split = protocol.split(fold, rows)
        sides = [split.train, split.test] if protocol.validates_on_test else list(split)
        placed = [row.id for side in sides for row in side]
        assert len(set(placed)) == len(placed) == variants * len(rows) - left_out


def test_a_rotation_validates_on_test_where_that_is_declared() -> None:
    leaky = replace(THREE, world="as_published", declared_leaks=("validation is test",))
    split = leaky.split(1, utterances("abcd", takes=1))
    assert [speakers(side) for side in split] == [{"c", "d"}, {"a", "b"}, {"a", "b"}]
    check_split(split, leaky, content(split))


def test_validation_as_test_lets_no_speaker_from_training_into_the_test() -> None:
    leaky = replace(THREE, world="as_published", declared_leaks=("validation is test",))
    shared = [utterance("2", "a")]
    split = Split([utterance("1", "a")], shared, shared)
    with pytest.raises(LeakError, match="the same speaker is in train and in test"):
        check_split(split, leaky, content(split))


def test_validation_as_test_is_a_leak_where_it_is_not_declared() -> None:
    shared = [utterance("2", "b")]
    split = Split([utterance("1", "a")], shared, shared)
    with pytest.raises(LeakError, match="the same speaker is in validation and in test"):
        check_split(split, THREE, content(split))


def test_a_random_test_is_the_same_in_every_fold_and_the_rest_rotates() -> None:
    rows = utterances("abcd", takes=25)
    splits = [TENTH.split(fold, rows) for fold in (1, 2, 3)]
    assert len(splits[0].test) == 10
    assert splits[0].test == splits[1].test == splits[2].test
    assert [speakers(split.validation) for split in splits] == [{"a", "b"}, {"c"}, {"d"}]
    assert not any(speakers(split.train) & speakers(split.validation) for split in splits)
    assert splits[0].test_rows_with_utterance_in_training == 0


@pytest.mark.parametrize(("number", "share"), [(339 * 4, 0.2), (535 * 4, 0.2), (339, 0.1), (1440, 0.1), (7, 0.5)])
@pytest.mark.parametrize("seed", [0, 42])
def test_the_draw_is_that_of_scikit_learn(number: int, share: float, seed: int) -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    ids = [str(index) for index in range(number)]
    train, test = model_selection.train_test_split(ids, test_size=share, random_state=seed)
    assert draw(ids, share, seed) == set(test)
    assert set(ids) - draw(ids, share, seed) == set(train)


def test_rows_are_split_after_they_are_made() -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    rows = utterances("abcd", takes=5)
    # As a notebook would: the rows of a file one after the other, the files by name.
    written = [key for row in rows for key in (row.id, f"{row.id}+noise", f"{row.id}+pitch+noise")]
    train, test = model_selection.train_test_split(written, test_size=0.2, random_state=42)
    split = ROWS.split(1, rows)
    assert [sorted(side) for side in ids(split)] == [sorted(train), sorted(test), sorted(test)]
    assert ids(split)[0] == [key for key in written if key in set(train)]


def test_a_row_keeps_what_its_utterance_is() -> None:
    original = replace(utterance("x", "a", "s1"), text="t", start=1.0, end=2.0)
    split = ROWS.split(1, [original, *utterances("bcd")])
    found = {row.id: row for side in split for row in side if row.id.startswith("x")}
    assert found["x"] is original
    made = found["x+pitch+noise"]
    assert isinstance(made, Row)
    assert (made.utterance, made.variant) == ("x", ("pitch", "noise"))
    assert (made.path, made.start, made.end, made.speaker, made.label) == (original.path, 1.0, 2.0, "a", "anger")
    assert (made.session, made.text) == ("s1", "t")


def test_the_share_of_test_rows_whose_utterance_is_in_training_is_counted() -> None:
    a, b, c = (utterance(key, key) for key in "abc")
    assert Split([a], [b], [replace(a, id="a+noise"), c]).test_rows_with_utterance_in_training == 0.5
    assert Split([a], [b], [c]).test_rows_with_utterance_in_training == 0
    assert THREE.split(1, utterances("abcd")).test_rows_with_utterance_in_training == 0


def test_nearly_every_test_row_of_four_has_its_utterance_in_training() -> None:
    protocol = find_protocol("emo_db", "as_cnn_attn")
    rows = utterances(members(find_protocol("emo_db")), takes=34)  # 340, as many as our four classes have
    assert protocol.split(1, rows).test_rows_with_utterance_in_training > 0.98


def test_identical_audio_of_two_utterances_is_still_found_between_rows() -> None:
    split = ROWS.split(1, utterances("abcd", takes=5))
    known = content(split)
    one = split.train[0]
    other = next(row for row in split.test if row.path != one.path)
    with pytest.raises(LeakError, match="the same audio is in train and in test"):
        check_split(split, ROWS, known | {one.id: "x", other.id: "x"})


def test_random_rows_must_declare_that_they_validate_on_test() -> None:
    with pytest.raises(ValueError, match="rows: random rows have no validation side"):
        replace(ROWS, declared_leaks=("speaker", "recording"))


def test_too_few_rows_for_two_sides_are_refused() -> None:
    with pytest.raises(ProtocolError, match="Fold 1 of protocol rows has no train utterances: too few utterances are in"):
        replace(ROWS, variants=((),)).split(1, utterances("a", takes=1))


def test_a_random_test_that_leaves_a_group_nothing_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"Fold 2 of protocol tenth has no validation utterances: speaker c is not in"):
        TENTH.split(2, utterances("abd"))
