"""A release folder becomes one guarded commit on the Hub.

`local` says whether a release is fit to publish, `remote` what the Hub holds, `plan` what would change, `faults` what
to do when the Hub or the network has trouble, `commit` makes the one commit, and `verify` says whether the Hub serves
what was sent. This room takes the steps in order. The repository shows the old state or the new one, never anything
between, because there is one commit, made only if nobody else made one since the plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HubError, ReleaseError
from .commit import Commit, Push, url_of
from .faults import Patience, client_settings, explained, status_of
from .local import LocalFile, Release, read_release
from .plan import Plan, StoryChanges, check_target, make_plan, read_plan
from .remote import Remote, check_names, check_rights, usable_token
from .verify import LoadError, Stranger, differences

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Plan", "Push", "StoryChanges", "plan_push", "push_to_hub"]

_VERIFICATIONS = 3


def plan_push(
    repo_id: str,
    *,
    folder: str | Path | None = None,
    private: bool = False,
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
        private: plan for a private repository.
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
            plan = read_plan(api, release, repo_id, revision, tag, delete_script)
            # Without a token, what is not there may be private: that is said already.
            if plan.remote.head or api.token:
                check_target(plan, private, tag)
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
        plan = patience.insist(lambda: read_plan(api, release, repo_id, revision, tag, delete_script))
        check_target(plan, private, tag)
        if confirm and not confirm(plan):
            return None
        if plan.is_empty:
            push = Push(str(plan.remote.head), url_of(api, plan, str(plan.remote.head)), False, [], [], [], plan.kept)
        else:
            push, plan = Commit(api, release, patience, private, create_pr, tag, delete_script, message).make(plan)
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
