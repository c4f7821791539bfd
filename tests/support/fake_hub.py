"""A stand-in for the Hub's client: uploads are kept in memory, downloads come from folders."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from huggingface_hub.errors import RepositoryNotFoundError


@dataclass
class FakeHub:
    """`repositories`: (kind, name) -> folder with its content and the commit that it is."""

    repositories: dict[tuple[str, str], tuple[Path, str]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    uploaded: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tokens: list[Any] = field(default_factory=list)

    def __call__(self, token: Any = None) -> "FakeHub":
        """As `HfApi(token=...)`."""
        self.tokens.append(token)
        return self

    def create_repo(self, repo: str, **words: Any) -> str:
        self.calls.append(("create_repo", {"repo": repo, **words}))
        return f"hub/{repo}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, **words: Any) -> None:
        self.calls.append(("upload_folder", {"repo": repo_id, **words}))
        files = [path for path in Path(folder_path).rglob("*") if path.is_file()]
        self.uploaded[repo_id] = {str(path.relative_to(folder_path)): path.read_bytes() for path in files}

    def create_tag(self, repo: str, **words: Any) -> None:
        self.calls.append(("create_tag", {"repo": repo, **words}))

    def list_repo_refs(self, repo: str, **_: Any) -> Any:
        return SimpleNamespace(tags=[])

    def repo_info(self, repo: str, *, revision: str | None, repo_type: str) -> Any:
        self.calls.append(("repo_info", {"repo": repo, "revision": revision}))
        if (repo_type, repo) not in self.repositories:
            asked = httpx.Response(404, request=httpx.Request("GET", f"hub:{repo}"))
            raise RepositoryNotFoundError(f"404: no {repo_type} {repo}", response=asked)
        return SimpleNamespace(sha=self.repositories[repo_type, repo][1])

    def snapshot_download(self, repo: str, *, revision: str, repo_type: str, local_dir: Path) -> None:
        self.calls.append(("snapshot_download", {"repo": repo, "revision": revision}))
        shutil.copytree(self.repositories[repo_type, repo][0], local_dir, dirs_exist_ok=True)
