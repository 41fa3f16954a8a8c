"""A release folder becomes one guarded commit on the Hub.

`local` says whether a release is fit to publish, `remote` what the Hub holds, `plan` what would change, `faults` what
to do when the Hub or the network has trouble, `verify` whether the Hub serves what was sent. This room takes the steps
in order. The repository shows the old state or the new one, never anything between, because there is one commit, made
only if nobody else made one since the plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HubError, ReleaseError
from .faults import Patience, client_settings, explained, is_race, leave_out_xet, status_of
from .local import LocalFile, Release, read_release
from .plan import Plan, StoryChanges, compare_stories, make_plan
from .remote import Remote, check_names, check_rights, read_remote, usable_token
from .verify import LoadError, Stranger, differences

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

__all__ = ["Plan", "Push", "StoryChanges", "plan_push", "push_to_hub"]

_RACES = 3
_VERIFICATIONS = 3


@dataclass(frozen=True)
class Push:
    """What a push did.

    Attributes:
        commit: the SHA of the commit that holds the release.
        url: where to look at it.
        committed: False when the Hub held all of it already.
        added: paths that were new.
        updated: paths that got other content.
        deleted: paths that went.
        kept: paths that the Hub held already, byte for byte.
        tag: the tag that is on the commit.
        pull_request: where to look at the pull request, if one was asked for.
    """

    commit: str
    url: str
    committed: bool
    added: list[str]
    updated: list[str]
    deleted: list[str]
    kept: list[str]
    tag: str | None = None
    pull_request: str | None = None


def plan_push(
    repo_id: str,
    *,
    folder: str | Path | None = None,
    revision: str = "main",
    tag: str | None = None,
    delete_script: bool = False,
    token: str | None = None,
    timeout: float = 60,
) -> Plan:
    """Say what a push would change; write nothing.

    It works without a token and without a network too, and then says in `Plan.unchecked` what it could not find out.

    Args:
        repo_id: the repository, `owner/name`.
        folder: the release folder; None is the packaged release.
        revision: the branch.
        tag: the tag that the commit would get; the card names it.
        delete_script: plan to remove a Python script of the repository's name.
        token: instead of that of `HF_TOKEN` or `hf auth login`.
        timeout: the seconds after which a silent request is given up.

    Raises:
        ReleaseError: when the folder is not fit to publish.
        HubError: when the Hub says that this push cannot be.
    """
    check_names(repo_id, revision, tag)
    with Stranger() as stranger:
        release = _release(folder)
        _check_loads(stranger, release, sample=False)
    unchecked = ["the Hub's own check of the card's YAML (it is done before any byte goes up)"]
    with client_settings(timeout):
        try:
            api = _api(usable_token(token))
            check_rights(api, repo_id)
        except Exception as error:
            if status_of(error) == 401:
                raise explained(error) from None
            if isinstance(error, HubError) and "No token" not in str(error):
                raise
            unchecked.append(f"whether you may write to {repo_id} ({explained(error)})")
            unchecked.append(f"whether {repo_id} is there, if it is private")
            api = _api(None)
        try:
            plan = _planned(api, release, repo_id, revision, tag, delete_script)
        except HubError:
            raise
        except Exception as error:
            plan = make_plan(release, Remote(), repo_id, revision, tag=tag)
            unchecked.append(f"what {repo_id} holds now, so all is shown as new ({explained(error)})")
    return replace(plan, unchecked=(*plan.unchecked, *unchecked))


def push_to_hub(
    repo_id: str,
    *,
    folder: str | Path | None = None,
    private: bool = False,
    create_pr: bool = False,
    revision: str = "main",
    tag: str | None = None,
    message: str | None = None,
    token: str | None = None,
    delete_script: bool = False,
    sample: bool = False,
    timeout: float = 60,
    confirm: Callable[[Plan], bool] | None = None,
    notice: Callable[[str], None] = lambda sentence: None,
) -> Push | None:
    """Publish a release in one commit, and load it again from the Hub to see that it is what was meant.

    Args:
        repo_id: the repository, `owner/name`; made when it is not there.
        folder: the release folder; None is the packaged release.
        private: make the repository private. One that is there and public is an error.
        create_pr: propose the commit as a pull request.
        revision: the branch.
        tag: set this tag on the commit.
        message: the commit's first line.
        token: instead of that of `HF_TOKEN` or `hf auth login`.
        delete_script: remove a Python script of the repository's name, in the same commit.
        sample: verify all footers and one file a config and split, not every byte; for releases of many GB.
        timeout: the seconds after which a silent request is given up.
        confirm: is asked with the plan before anything is written; False ends it.
        notice: is told of every step that takes time, and of every trouble that is ridden out.

    Returns:
        What was done; None when `confirm` said no.

    Raises:
        ReleaseError: when the folder is not fit to publish.
        HubError: when the Hub refuses, or has trouble for longer than a few attempts, or serves something else than
            what was sent. The repository is then as it was, or as it should be, as the message says.
    """
    if create_pr and tag:
        raise HubError("A pull request has no commit to tag yet; merge it, and push again with the tag")
    check_names(repo_id, revision, tag)
    api = _api(usable_token(token))
    patience = Patience(notice)
    with Stranger(str(api.token)) as stranger, client_settings(timeout):
        release = _release(folder)
        notice(f"loading {release.folder}, as a stranger would")
        _check_loads(stranger, release, sample)
        notice(f"reading {repo_id}")
        patience.insist(lambda: check_rights(api, repo_id))
        plan = patience.insist(lambda: _planned(api, release, repo_id, revision, tag, delete_script))
        _check_target(plan, private, tag)
        if confirm and not confirm(plan):
            return None
        if plan.is_empty:
            push = Push(str(plan.remote.head), _url(api, plan), False, [], [], [], plan.kept)
        else:
            push, plan = _Commit(api, release, patience, private, create_pr, tag, delete_script, message).make(plan)
        if push.committed or tag:
            # A tag says that all is well: also of a commit that was made by a push that ended before it looked.
            notice(f"loading {repo_id} at {push.commit[:7]}, as a stranger would")
            _check_published(stranger, release, plan, push, sample, timeout)
        if tag:
            patience.insist(lambda: _set_tag(api, plan, tag, push.commit))
            push = replace(push, tag=tag)
    return push


def _api(token: str | None) -> HfApi:
    from huggingface_hub import HfApi

    from .. import __version__

    return HfApi(token=token or False, library_name="cats_alpaca", library_version=__version__)


def _release(folder: str | Path | None) -> Release:
    from .. import path

    return read_release(Path(folder) if folder is not None else path())


def _check_loads(stranger: Stranger, release: Release, sample: bool) -> None:
    try:
        wrong = differences(stranger, release, str(release.folder.resolve()), sample=sample)
    except LoadError as error:
        raise ReleaseError(str(error)) from None
    if wrong:
        raise ReleaseError(f"{release.folder} loads as something else than its files hold: {'; '.join(wrong)}")


def _planned(api: HfApi, release: Release, repo_id: str, revision: str, tag: str | None, delete_script: bool) -> Plan:
    remote = read_remote(api, repo_id, revision)
    plan = make_plan(release, remote, repo_id, revision, tag=tag, delete_script=delete_script)
    return replace(plan, stories=compare_stories(api, release, remote, repo_id))


def _check_target(plan: Plan, private: bool, tag: str | None) -> None:
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


@dataclass
class _Commit:
    """Makes one commit of a plan, and a new plan whenever the Hub's state may have changed."""

    api: HfApi
    release: Release
    patience: Patience
    private: bool
    create_pr: bool
    tag: str | None
    delete_script: bool
    message: str | None
    races: int = 0

    def make(self, first: Plan) -> tuple[Push, Plan]:
        plan = first
        while True:
            try:
                if plan.remote.head is None:
                    plan = self._created(plan)
                    continue
                if plan.is_empty:
                    # The commit was made, only its answer was lost.
                    return self._done(first, str(plan.remote.head), None), plan
                if self.create_pr and (proposed := self._proposed(plan)):
                    return proposed, plan
                info = self._send(plan)
                return self._done(first, str(info.oid), info.pr_url), plan
            except Exception as error:
                self._survive(error, plan)
                plan = self._again(plan)

    def _created(self, plan: Plan) -> Plan:
        """Make the repository, but not for a card that the Hub would refuse."""
        self.api._validate_yaml(plan.card, repo_type="dataset")
        # Not False, but None: an organization may have it that its repositories are private.
        self.api.create_repo(plan.repo_id, repo_type="dataset", private=self.private or None, exist_ok=True)
        plan = self._again(plan)
        if plan.remote.head is None:
            raise ConnectionError(f"{plan.repo_id} was made, or is there, but this token cannot see it")
        _check_target(plan, self.private, self.tag)
        return plan

    def _again(self, plan: Plan) -> Plan:
        return self.patience.insist(
            lambda: _planned(self.api, self.release, plan.repo_id, plan.revision, self.tag, self.delete_script)
        )

    def _proposed(self, plan: Plan) -> Push | None:
        """Find an open pull request that proposes just this: an answer may have been lost."""
        pulls = self.api.get_repo_discussions(
            plan.repo_id, repo_type="dataset", discussion_type="pull_request", discussion_status="open"
        )
        for pull in pulls:
            try:
                remote = read_remote(self.api, plan.repo_id, f"refs/pr/{pull.num}")
                same = make_plan(
                    self.release, remote, plan.repo_id, plan.revision, delete_script=self.delete_script
                ).is_empty
            except HubError:
                continue  # somebody's, and nothing like this
            if same:
                return self._done(plan, str(remote.head), pull.url)
        return None

    def _send(self, plan: Plan) -> CommitInfo:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with ThreadPoolExecutor() as pool:
            # All processors hash; the client would use one for each file in turn, and do it again at every attempt.
            list(pool.map(attrgetter("sha256"), plan.send))
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationDelete(path_in_repo=path) for path in plan.deleted
        ]
        for file in plan.send:
            operation = CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=file.content)
            operation.upload_info.sha256 = bytes.fromhex(file.sha256)
            operations.append(operation)
        return self.api.create_commit(
            plan.repo_id,
            operations,
            commit_message=self.message or _message(self.release),
            repo_type="dataset",
            revision=plan.revision,
            create_pr=self.create_pr,
            parent_commit=plan.remote.head,
        )

    def _survive(self, error: Exception, plan: Plan) -> None:
        if leave_out_xet(error):
            self.patience.notice("the Hub's Xet storage cannot be reached: sending by plain HTTP instead")
            return
        if not is_race(error):
            self.patience.wait(error)
            return
        self.races += 1
        if self.races == _RACES:
            raise HubError(
                f"Somebody else committed to {plan.repo_id} {_RACES} times while this push was made; nothing was "
                "published. Wait till they are done and run it again"
            ) from error
        self.patience.notice("somebody else committed meanwhile: reading and planning again")

    def _done(self, plan: Plan, commit: str, pull_request: str | None) -> Push:
        return Push(
            commit=commit,
            url=f"{self.api.endpoint}/datasets/{plan.repo_id}/commit/{commit}",
            committed=True,
            added=plan.added,
            updated=plan.updated,
            deleted=plan.deleted,
            kept=plan.kept,
            pull_request=pull_request,
        )


def _url(api: HfApi, plan: Plan) -> str:
    return f"{api.endpoint}/datasets/{plan.repo_id}/commit/{plan.remote.head}"


def _message(release: Release) -> str:
    rows = next(iter(release.facts.values()))
    splits = ", ".join(f"{facts.rows:,} {split}" for split, facts in rows.items())
    return f"Publish {sum(facts.rows for facts in rows.values()):,} stories ({splits})"


def _check_published(
    stranger: Stranger, release: Release, plan: Plan, push: Push, sample: bool, timeout: float
) -> None:
    """Load what the Hub serves at the commit; more than once, since a fault on the way would look like a difference."""
    card = LocalFile("README.md", plan.card.encode())
    where = f"{plan.repo_id} at {push.commit[:7]}"
    for attempt in range(_VERIFICATIONS):
        time.sleep(2 * attempt)
        trouble, wrong = "", []
        try:
            wrong = differences(stranger, release, plan.repo_id, push.commit, sample=sample, card=card, timeout=timeout)
        except LoadError as error:
            trouble = str(error)
        if not (trouble or wrong):
            return
        stranger.forget()
    if trouble:
        raise HubError(
            f"{where} is published, but it could not be loaded to check it: {trouble}. Run the same command again with "
            f"a --tag to check it; {_how_to_take_back(plan, push)}"
        )
    raise HubError(f"{where} is not what was sent: {'; '.join(wrong)}. {_how_to_take_back(plan, push)}")


def _how_to_take_back(plan: Plan, push: Push) -> str:
    if push.pull_request:
        return f"To take it back, close {push.pull_request}"
    repository = push.url.partition("/commit/")[0]
    return (
        f"To take it back: GIT_LFS_SKIP_SMUDGE=1 git clone --branch {plan.revision} {repository} and, in it, "
        f"git revert --no-edit {push.commit} && git push"
    )


def _set_tag(api: HfApi, plan: Plan, tag: str, commit: str) -> None:
    """Set a tag, and see where it is: the client believes any answer that is no error."""
    try:
        api.create_tag(plan.repo_id, tag=tag, revision=commit, repo_type="dataset")
    except Exception as error:
        if status_of(error) != 409:
            raise
    there = {ref.name: ref.target_commit for ref in api.list_repo_refs(plan.repo_id, repo_type="dataset").tags}
    if tag not in there:
        raise ConnectionError(f"the tag {tag} was not set")
    if there[tag] != commit:
        raise HubError(
            f"The release is published at {commit[:7]}, but the tag {tag} is on {there[tag][:7]}; push again with "
            "another --tag"
        )
