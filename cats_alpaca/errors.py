"""What can go wrong, as a tree.

```
CatsAlpacaError
├── SourceError     a source cannot be opened or read: missing, a folder, truncated, an unknown encoding
├── StoriesError    lines that are no stories; carries a report with every count and the first problems
├── ReleaseError    a release folder is not ours to write, is stale, or is not fit to publish; or its card is wrong
├── HubError        the Hub refuses, has trouble for too long, or serves something else than what was sent
└── FeedbackError   what was asked of a feedback store cannot be done: a bad text or date, an unknown id, a bad file
    └── ModelError  the model gave no answer; what the person typed is kept
```

Every message is a sentence that names the file and the next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stories import Report


class CatsAlpacaError(Exception):
    """The base of every error that this package raises on purpose."""


class SourceError(CatsAlpacaError):
    """A source cannot be opened or read."""


class ReleaseError(CatsAlpacaError):
    """A release folder is not ours to write, is stale, or is not fit to publish."""


class HubError(CatsAlpacaError):
    """The Hub refuses, has trouble for too long, or serves something else than what was sent."""


class FeedbackError(CatsAlpacaError):
    """What was asked of a feedback store cannot be done."""


class ModelError(FeedbackError):
    """The model gave no answer that can be used; the question and what was recalled for it are kept."""


class StoriesError(CatsAlpacaError):
    """Some lines are no stories, or there are none at all.

    Attributes:
        report: counts of lines read, kept and rejected, and the first problems.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        first, *others = self.report.problems
        more = self.report.rejected - 1 if others else 0
        return f"{first}" + (f" (and {more:,} more bad lines)" if more > 0 else "")
