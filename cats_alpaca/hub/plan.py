"""What a push would change: computed from a release and a repository, before anything is written."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .. import card
from ..errors import HubError, ReleaseError
from .local import LocalFile, Release, digest_stories, holds_stories, is_managed, metadata
from .remote import Remote, download, read_remote

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_COMPARED_BYTES = 200 << 20
"""Stories are compared one by one where both sides' files are smaller than this together."""


@dataclass(frozen=True)
class StoryChanges:
    """The ids of the stories that a push adds, changes and retires."""

    added: list[str]
    changed: list[str]
    retired: list[str]


@dataclass(frozen=True)
class Plan:
    """What a push would do.

    Attributes:
        repo_id: the repository, `owner/name`.
        revision: the branch.
        remote: the repository as it is; its `head` will be the commit's parent.
        send: the files to add or to replace.
        added: paths that are new.
        updated: paths that get other content.
        deleted: paths that go.
        kept: paths of the release that the Hub holds already, byte for byte.
        card: README.md as it will be: this release's, with what people wrote into it at the Hub.
        card_diff: the change of README.md, as lines of a unified diff; empty when there was none before.
        rows: by config and split, the number of rows before and after; None where there is no such split.
        stories: which stories change; None where that was not compared.
        unchecked: what could not be found out, as sentences.
    """

    repo_id: str
    revision: str
    remote: Remote
    send: list[LocalFile]
    added: list[str]
    updated: list[str]
    deleted: list[str]
    kept: list[str]
    card: str
    card_diff: list[str]
    rows: dict[str, dict[str, tuple[int | None, int | None]]]
    stories: StoryChanges | None = None
    unchecked: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the Hub holds all of it already."""
        return not (self.send or self.deleted)


def make_plan(
    release: Release,
    remote: Remote,
    repo_id: str,
    revision: str,
    *,
    tag: str | None = None,
    delete_script: bool = False,
) -> Plan:
    """Compare a release with what a repository holds.

    Raises:
        HubError: when the repository holds a script of its own name, which `datasets` 4 and newer refuse to load; a
            card that cannot be merged with ours; or somebody's data that this would replace, or load as ours.
    """
    script = f"{repo_id.split('/')[-1]}.py"
    if script in remote.files and not delete_script:
        raise HubError(
            f"{repo_id} holds {script}, and because of it datasets 4 and newer refuse to load the repository; remove "
            "it in the same commit with --delete-script"
        )
    _refuse_foreign(release, remote, repo_id)
    text = _card(release, remote, repo_id, tag)
    files = [*release.files, LocalFile("README.md", text.encode())]
    paths = {file.path for file in files}
    kept = {file.path for file in files if file.path in remote.files and remote.files[file.path].holds(file)}
    return Plan(
        repo_id=repo_id,
        revision=revision,
        remote=remote,
        send=[file for file in files if file.path not in kept],
        added=sorted(paths - remote.files.keys()),
        updated=sorted((paths & remote.files.keys()) - kept),
        deleted=sorted(path for path in remote.files.keys() - paths if is_managed(path) or path == script),
        kept=sorted(kept),
        card=text,
        card_diff=list(_diff(remote.card, text)) if remote.card else [],
        rows=_rows(_published_rows(metadata(remote.card or "")), _published_rows(metadata(text)) | _rows_of(release)),
    )


def read_plan(api: HfApi, release: Release, repo_id: str, revision: str, tag: str | None, delete_script: bool) -> Plan:
    """Read what the Hub holds now, and compare the release with it."""
    remote = read_remote(api, repo_id, revision)
    _refuse_homeless(release, remote, repo_id)
    plan = make_plan(release, remote, repo_id, revision, tag=tag, delete_script=delete_script)
    return replace(plan, stories=compare_stories(api, release, remote, repo_id))


def check_target(plan: Plan, private: bool, tag: str | None) -> None:
    """Refuse what would turn out to be wrong only after the commit."""
    if private and plan.remote.private is False:
        raise HubError(f"{plan.repo_id} is public; make it private at the Hub first, or leave --private out")
    if plan.remote.head is None and plan.revision != "main":
        raise HubError(f"{plan.repo_id} is not there yet, so it has no branch {plan.revision}; push to main first")
    there = plan.remote.tags.get(tag) if tag else None
    if there and not (plan.is_empty and there == plan.remote.head):
        raise HubError(
            f"The tag {tag} is on {there[:7]} already, which is another state; choose a new version. (Published tags "
            f"should stay; hf repos tag delete {plan.repo_id} {tag} --repo-type dataset removes one)"
        )


def _refuse_foreign(release: Release, remote: Remote, repo_id: str) -> None:
    """Refuse to replace what no push of ours put there, and to be loaded together with it."""
    ours = remote.card is not None and (card.MARK in remote.card or "<!-- cats-alpaca:known" in remote.card)
    patterns = [f"data/{config}/{split}-*" for config, splits in release.facts.items() for split in splits]
    for path in sorted(remote.files):
        if (is_managed(path) and path != "README.md" and not ours) or (
            not is_managed(path) and any(fnmatchcase(path, pattern) for pattern in patterns)
        ):
            raise HubError(
                f"{repo_id} holds {path}, which no push of this program put there; remove it at the Hub if it may go, "
                "or push to another repository"
            )


def _refuse_homeless(release: Release, remote: Remote, repo_id: str) -> None:
    """Refuse a config that somebody wrote into the card here, and whose files no push sends."""
    for config, patterns in card.foreign_configs(metadata(release.card)).items():
        for pattern in patterns:
            if "://" not in pattern and not any(map(card.globbed(pattern).fullmatch, remote.files)):
                raise HubError(
                    f"README.md names the config {config}, and {repo_id} has no {pattern}, nor does a push send it; "
                    "put it there first, or take the config out of README.md"
                )


def _card(release: Release, remote: Remote, repo_id: str, tag: str | None) -> str:
    """Write the card as it will be: it names the repository and the tag, and keeps what people wrote at the Hub."""
    if remote.card is None:
        return card.addressed(release.card, repo_id, tag)
    try:
        made = [
            card.merge(card.addressed(release.card, repo_id, name), remote.card) for name in (tag, None, *remote.tags)
        ]
    except ReleaseError as error:
        raise HubError(f"README.md of {repo_id}: {error}") from None
    # Where only the tag that it names would be another, the card is left as it is: that would be no new revision.
    return remote.card if remote.card in made else made[0]


def _diff(before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "README.md", "README.md", n=1, lineterm="")
    yield from lines


def _rows_of(release: Release) -> dict[str, dict[str, int]]:
    return {config: {split: facts.rows for split, facts in splits.items()} for config, splits in release.facts.items()}


def _rows(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> dict[str, dict[str, tuple[int | None, int | None]]]:
    return {
        config: {
            split: (before.get(config, {}).get(split), after.get(config, {}).get(split))
            for split in (before.get(config, {}) | after.get(config, {}))
        }
        for config in before | after
    }


def _published_rows(published: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Read the numbers in a card's YAML, whoever wrote it; none where it has another shape."""
    infos = published.get("dataset_info") or []
    try:
        return {
            info["config_name"]: {split["name"]: int(split["num_examples"]) for split in info["splits"]}
            for info in (infos if isinstance(infos, list) else [infos])
        }
    except (KeyError, TypeError, ValueError):
        return {}


def compare_stories(api: HfApi, release: Release, remote: Remote, repo_id: str) -> StoryChanges | None:
    """Find the ids of stories that are new, other than before, or gone; None when there is too much to compare."""
    here = [file for file in release.files if holds_stories(file.path)]
    there = [file for path, file in remote.files.items() if holds_stories(path)]
    if sum(file.size for file in here) + sum(file.size for file in there) > _COMPARED_BYTES:
        return None
    after = release.stories
    try:
        before = digest_stories(download(api, repo_id, str(remote.head), file) for file in there)
    except pa.ArrowInvalid:
        # What is there cannot be read; that is no reason not to replace it.
        return None
    return StoryChanges(
        added=sorted(after.keys() - before.keys()),
        changed=sorted(story for story in after.keys() & before.keys() if after[story] != before[story]),
        retired=sorted(before.keys() - after.keys()),
    )
