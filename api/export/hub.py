"""Push a folder of shards to a dataset repository of the Hugging Face Hub."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from cuvee.schemas.errors import RecipeError, RetryableError

_ADDRESS = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+?)(?:@([^\s@]+))?")


class Repository(NamedTuple):
    """A dataset repository. revision: a branch; empty for the main one."""

    name: str
    revision: str


def parse_repository(address: str) -> Repository:
    """Read hf://datasets/org/name or hf://datasets/org/name@branch; raises RecipeError for anything else."""
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise RecipeError(f"--push {address}: write it as hf://datasets/ORG/NAME or hf://datasets/ORG/NAME@BRANCH")
    return Repository(found[1], found[2] or "")


def push(folder: Path, names: Sequence[str], repository: Repository, message: str) -> str:
    """Upload files of a folder in one commit that removes shards of an earlier export; return the commit's address.

    The repository is made, private, where there is none. Endpoint and token are the Hub client's own (HF_ENDPOINT,
    HF_TOKEN, or what `hf auth login` left). Raises RecipeError where the Hub refuses, RetryableError where it fails.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # What the client's HTTP library raises, whichever it is: the Hub's own errors are derived from that.
    unreached = cast(type[Exception], HfHubHTTPError.__bases__[0])
    hub = HfApi(library_name="cuvee")
    try:
        hub.create_repo(repository.name, repo_type="dataset", private=True, exist_ok=True)
        if repository.revision:
            hub.create_branch(repository.name, branch=repository.revision, repo_type="dataset", exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository.name,
            folder_path=folder,
            repo_type="dataset",
            revision=repository.revision or None,
            allow_patterns=list(names),
            delete_patterns=["train-*-of-*", "validation-*-of-*", "shard.*.mds", "index.json"],
            commit_message=message,
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        kind = RetryableError if status >= 500 or status == 429 else RecipeError
        raise kind(f"--push {repository.name}: the Hub answers {status}: {str(error)[:300]}") from None
    except unreached as error:
        raise RetryableError(f"--push {repository.name}: the Hub cannot be reached ({error})") from None
    return str(commit.commit_url)
