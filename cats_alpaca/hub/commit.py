"""One commit of a plan: made once, made again after trouble, planned again when somebody else was faster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from ..errors import HubError
from .faults import Patience, is_race, leave_out_xet
from .local import Release
from .plan import Plan, check_target, make_plan, read_plan
from .remote import read_remote

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

_RACES = 3


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


@dataclass
class Commit:
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
        """Make it; give what was done, and the plan that it was done by in the end."""
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
        check_target(plan, self.private, self.tag)
        return plan

    def _again(self, plan: Plan) -> Plan:
        return self.patience.insist(
            lambda: read_plan(self.api, self.release, plan.repo_id, plan.revision, self.tag, self.delete_script)
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
            url=url_of(self.api, plan, commit),
            committed=True,
            added=plan.added,
            updated=plan.updated,
            deleted=plan.deleted,
            kept=plan.kept,
            pull_request=pull_request,
        )


def url_of(api: HfApi, plan: Plan, commit: str) -> str:
    """Say where to look at a commit."""
    return f"{api.endpoint}/datasets/{plan.repo_id}/commit/{commit}"


def _message(release: Release) -> str:
    rows = next(iter(release.facts.values()))
    splits = ", ".join(f"{facts.rows:,} {split}" for split, facts in rows.items())
    return f"Publish {sum(facts.rows for facts in rows.values()):,} stories ({splits})"
