"""What the Hub holds now, and what the token may do there. Nothing here writes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import HubError
from .faults import status_of
from .local import LocalFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class RemoteFile:
    """A file as the Hub lists it: its Git name, and of a large one its sha256."""

    path: str
    size: int
    git_oid: str
    sha256: str | None

    def holds(self, file: LocalFile) -> bool:
        """Tell whether it has the content of a local file."""
        if self.size != file.size:
            return False
        return self.sha256 == file.sha256 if self.sha256 else self.git_oid == file.git_oid


@dataclass(frozen=True)
class Remote:
    """A repository at one moment.

    Attributes:
        head: the commit that all the rest was read at; None where there is no repository yet.
        private: whether only its owners see it.
        files: its files by path.
        card: its README.md, if it has one.
        tags: the commit of every tag.
    """

    head: str | None = None
    private: bool | None = None
    files: dict[str, RemoteFile] = field(default_factory=dict)
    card: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


def check_names(repo_id: str, revision: str, tag: str | None) -> None:
    """Refuse names that the Hub would refuse, before anything is sent to it.

    >>> check_names("you/cats_alpaca", "main", "v1.2.0")

    Raises:
        HubError: when the name of the repository, the branch or the tag cannot be one.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} cannot be a repository's name: {error}") from None
    if "/" not in repo_id:
        raise HubError(f"Say whose repository it is: your-name/{repo_id}")
    for kind, name in (("branch", revision), ("tag", tag)):
        fits = name is None or re.fullmatch(r"(?!refs/(?!pr/))[\w][\w./+-]*(?<![./])(?<!\.lock)", name)
        if name is not None and (not fits or ".." in name or "//" in name):
            raise HubError(f"{name!r} cannot be the name of a {kind}")


def usable_token(token: str | None) -> str:
    """Give the token to use: the one given, or that of `HF_TOKEN` or of `hf auth login`.

    Raises:
        HubError: when there is none, or it cannot be one.
    """
    from huggingface_hub import get_token

    token = (token or get_token() or "").strip()
    if not token:
        raise HubError("No token was found. Log in (hf auth login), or set HF_TOKEN, or give one with --token")
    if not re.fullmatch(r"[!-~]+", token):
        # The HTTP library's own message would quote it.
        raise HubError("The token holds a character that no token has; copy it again from the Hub's settings")
    return token


def check_rights(api: HfApi, repo_id: str) -> None:
    """Ask the Hub who we are, and whether the token may write to this repository.

    Raises:
        HubError: when it says that it may not.
    """
    me = api.whoami()
    namespace = repo_id.split("/")[0]
    roles = {org["name"]: org.get("roleInOrg") for org in me.get("orgs", [])}
    if namespace != me["name"] and namespace not in roles:
        raise HubError(
            f"The token is {me['name']}'s, who is no member of {namespace}; push to {me['name']}/… "
            f"or use a token of {namespace}"
        )
    if roles.get(namespace) == "read":
        raise HubError(f"{me['name']} may only read in {namespace}; ask there for write access")
    if not _may_write(me.get("auth", {}).get("accessToken", {}), namespace, repo_id):
        raise HubError(
            f"The token may not write to {repo_id}; make one that may, at the Hub under Settings, Access Tokens"
        )


def _may_write(token: dict[str, Any], namespace: str, repo_id: str) -> bool:
    """Read a token's role. One of an unknown kind passes: the Hub itself decides, before any byte goes up."""
    if token.get("role") != "fineGrained":
        return token.get("role") != "read"
    scopes = token.get("fineGrained", {}).get("scoped", [])
    fitting = [scope for scope in scopes if scope.get("entity", {}).get("name") in (namespace, repo_id)]
    return not scopes or any("repo.write" in scope.get("permissions", []) for scope in fitting)


def read_remote(api: HfApi, repo_id: str, revision: str) -> Remote:
    """Read the repository as it is now; all of it at one commit.

    Raises:
        HubError: when the repository is there and the branch is not.
    """
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = api.repo_info(repo_id, repo_type="dataset", revision=revision)
    except RevisionNotFoundError:
        raise HubError(
            f"{repo_id} has no branch {revision}; make it first: hf repos branch create {repo_id} {revision} "
            "--repo-type dataset"
        ) from None
    except RepositoryNotFoundError:
        # The Hub says 401 of what is not there, and of a token that is not valid; whoami has told these apart.
        return Remote()
    files = _files(api, repo_id, str(info.sha))
    return Remote(
        head=info.sha,
        private=info.private,
        files=files,
        card=_card(api, repo_id, str(info.sha), files["README.md"]) if "README.md" in files else None,
        tags={ref.name: ref.target_commit for ref in api.list_repo_refs(repo_id, repo_type="dataset").tags},
    )


def _files(api: HfApi, repo_id: str, head: str) -> dict[str, RemoteFile]:
    from huggingface_hub.hf_api import RepoFile

    try:
        entries = list(api.list_repo_tree(repo_id, recursive=True, revision=head, repo_type="dataset"))
    except Exception as error:
        if status_of(error) == 404:
            # A repository without a single file has no tree.
            return {}
        raise
    files = [entry for entry in entries if isinstance(entry, RepoFile)]
    return {
        file.path: RemoteFile(file.path, file.size, file.blob_id, file.lfs.sha256 if file.lfs else None)
        for file in files
    }


def _card(api: HfApi, repo_id: str, head: str, listed: RemoteFile) -> str:
    content = download(api, repo_id, head, listed)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HubError(
            f"The README.md of {repo_id} is no UTF-8 ({error}); mend or delete it at the Hub first"
        ) from None


def download(api: HfApi, repo_id: str, head: str, listed: RemoteFile) -> bytes:
    """Fetch a file from the Hub, and see that it is what the Hub lists: the client does not.

    It goes through no cache and no folder, so that a push that is killed leaves none.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status, http_backoff

    url = hf_hub_url(repo_id, listed.path, repo_type="dataset", revision=head, endpoint=api.endpoint)
    answer = http_backoff("GET", url, headers=build_hf_headers(token=api.token))
    hf_raise_for_status(answer)
    content: bytes = answer.content
    if not listed.holds(LocalFile(listed.path, content)):
        raise ConnectionError(f"{listed.path} arrived damaged")
    return content
