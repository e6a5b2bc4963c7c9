"""What goes wrong because of an input: errors and warnings whose text is written for the user.

Every error here says what was found, where, what was expected and what to do. The command line prints the text alone;
from Python they are ordinary exceptions.
"""

from __future__ import annotations


class SERZooError(Exception):
    """A mistake that the user can mend; the base of all errors this package raises on purpose."""


class UnknownNameError(SERZooError):
    """A model, corpus or protocol of that name does not exist."""


class CorpusError(SERZooError):
    """A corpus folder is missing, is not the official release, or holds what the release does not."""


class AudioError(SERZooError):
    """A recording cannot be read."""


class ProtocolError(SERZooError):
    """A fold does not exist, or cannot be made of the utterances that are there."""


class LeakError(ProtocolError):
    """A speaker, a recording or the same audio stands on two sides of a split that does not declare it."""


class EncoderError(SERZooError):
    """A pre-trained encoder cannot be found, or has not what is asked of it."""


class MismatchError(SERZooError):
    """A checkpoint is to be used on something other than it was trained on."""


class RunError(SERZooError):
    """A run folder is in the way, is incomplete, or belongs to another configuration."""


class InterruptedRunError(RunError):
    """Ctrl-C, or the SIGTERM of a scheduler, has ended a training; it can go on."""


class SERZooWarning(UserWarning):
    """Something the user should know and may accept, such as an incomplete release."""
