"""Several corpora as one: ids and speakers carry the name of their corpus, labels are those of a shared space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ser_zoo.corpora.base import Corpus, Utterance, default_root
from ser_zoo.errors import CorpusError

DEFAULT_SPACE = "common4"


class Several:
    """What several corpora have of the classes that they share.

    Args:
        corpora: the readers of those that train, in the order of the user.
        test: the readers of those that are tested only; may be empty.
        root: folder that holds ``<name>/`` of each. None means ``$SER_ZOO_DATA``, and without that variable ``data``.
        labels: name of the label space; None means ``common4``.

    Attributes:
        name: of all corpora, ``emo_db+ravdess``, or ``emo_db+ravdess-to-emovo`` where some are tested only.
        title: the same for a person.
        root: the folder.
        parts: a reader per corpus.
        task: the label space.
        synthetic: whether one of them is.
        published: None, as all of them are in folders.
        dropped: after ``utterances``, how many of them were left out, by corpus and label.

    Raises:
        UnknownNameError: no such label space.
        CorpusError: a corpus is named twice.
    """

    published: str | None = None

    def __init__(
        self,
        corpora: Sequence[type[Corpus]],
        test: Sequence[type[Corpus]] = (),
        root: Path | str | None = None,
        labels: str | None = None,
    ) -> None:
        readers = [*corpora, *test]
        names = [reader.name for reader in readers]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise CorpusError(
                f"--data {','.join(reader.name for reader in corpora)} and --data.test "
                f"{','.join(reader.name for reader in test)} name {', '.join(twice)} twice. Expected each corpus once."
            )
        self.root = default_root("") if root is None else Path(root).expanduser()
        self.parts = [reader(self.root / reader.name, labels=labels or DEFAULT_SPACE) for reader in readers]
        self.task = self.parts[0].task
        self.name = joint_name([reader.name for reader in corpora], [reader.name for reader in test])
        self.title = " + ".join(part.title for part in self.parts)
        self.synthetic = any(part.synthetic for part in self.parts)
        self.dropped: dict[str, int] = {}
        self._training = len(corpora)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the label space, in the order of the model's outputs."""
        return self.task.labels

    def prepare(self) -> None:
        """Make those that can be made."""
        for part in self.parts:
            part.prepare()

    def utterances(self) -> list[Utterance]:
        """All of them, corpus by corpus, as ``emo_db/03a01Fa`` by ``emo_db/03``.

        Classes that no training corpus has are left out, since no model of them could know these.

        Raises:
            CorpusError: as the readers do.
        """
        rows = [part.utterances() for part in self.parts]
        taught = {row.label for part in rows[: self._training] for row in part}
        self.dropped = {}
        for part, of_part in zip(self.parts, rows, strict=True):
            dropped = Counter(part.dropped) + Counter(row.label for row in of_part if row.label not in taught)
            self.dropped |= {f"{part.name} {label}": count for label, count in dropped.most_common()}
        return [
            replace(
                row,
                id=f"{part.name}/{row.id}",
                speaker=f"{part.name}/{row.speaker}",
                session=None if row.session is None else f"{part.name}/{row.session}",
                text=None if row.text is None else f"{part.name}/{row.text}",
            )
            for part, of_part in zip(self.parts, rows, strict=True)
            for row in of_part
            if row.label in taught
        ]


def joint_name(train: Sequence[str], test: Sequence[str] = ()) -> str:
    """What several corpora are called together.

    >>> joint_name(["emo_db", "ravdess"], ["emovo"])
    'emo_db+ravdess-to-emovo'
    """
    return "+".join(train) + ("-to-" + "+".join(test) if test else "")
