"""Saving and sharing models: a directory, the Hub (a small local server), and the model card."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import files_of
from huggingface_hub import ModelCard, constants
from small_classifiers import classifier_parts
from tiny_transformers import tiny_bert

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.inference.sharing import front_matter, plain_card, push_to_hub, save_pretrained
from nlp_app.models import read_model, write_model

REVISION = "0123456789012345678901234567890123456789"
TOKEN = "hf_" + "x" * 34


@dataclass
class Repository:
    """What was sent."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)


class Hub(ThreadingHTTPServer):
    """The few addresses of the Hub by which a model is sent and fetched; every file goes along with its commit."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.endpoint = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization', 'me')}/{wanted['name']}"
            private = wanted.get("private", wanted.get("visibility") == "private")
            self.server.repositories.setdefault(name, Repository(private))
            self.answer({"url": f"{self.server.endpoint}/{name}", "name": name, "id": name})
        elif "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]]
            self.answer({"files": [file | {"shouldIgnore": False} for file in files]})
        elif "/commit/" in self.path:
            name = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.repositories[name].files[line["value"]["path"]] = content
            self.answer({"commitUrl": f"{self.server.endpoint}/{name}/commit/{REVISION}", "commitOid": REVISION})
        else:
            self.answer({"error": self.path}, 404)

    def do_GET(self) -> None:
        place = self.path.partition("?")[0].strip("/").split("/")
        name = "/".join(place[2:4] if place[0] == "api" else place[:2])
        repository = self.server.repositories.get(name)
        if repository is None:
            self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif place[0] == "api" and "tree" in place:
            self.answer(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for path, content in repository.files.items()
                ]
            )
        elif place[0] == "api":
            self.answer({"_id": "1", "id": name, "sha": REVISION, "siblings": [], "private": False, "tags": []})
        else:
            content = repository.files["/".join(place[4:])]
            etag = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": REVISION}
            self.answer(content, 200, etag)

    do_HEAD = do_GET

    def answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
        self.send_response(status)
        for key, text in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def parts_with_card() -> Any:
    return replace(classifier_parts(), card="---\ntags: [mine]\n---\n# 我的 card\r\n")


def test_a_model_on_the_hub_is_the_model_here(hub: Hub, tmp_path: Path) -> None:
    parts = parts_with_card()
    address = push_to_hub(parts, "owner/model", private=True, token=TOKEN, endpoint=hub.endpoint)
    assert address == f"{hub.endpoint}/owner/model/commit/{REVISION}"
    repository = hub.repositories["owner/model"]
    assert repository.private is True
    save_pretrained(parts, tmp_path / "here")
    files = {name: content for name, content in files_of(tmp_path / "here").items() if content}
    assert repository.files == files
    # From there, by its name, as another program would, which nothing of this one has told anything.
    repository.files |= {"pytorch_model.bin": b"x", "onnx/model.safetensors": b"x", "evil.py": b"x"}
    code = (
        "import huggingface_hub, nlp_app, sys\n"
        "from nlp_app.models.hub import download\n"
        "from nlp_app.inference.sharing import save_pretrained\n"
        "save_pretrained(nlp_app.load('owner/model').parts, sys.argv[1])\n"
        "huggingface_hub.constants.HF_HUB_OFFLINE = True  # and once more, from the cache\n"
        "print(*sorted(path.name for path in download('owner/model').rglob('*') if path.is_file()))"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-c", code, str(tmp_path / "there")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert done.stdout.split() == sorted(Path(name).name for name in files)


def test_upload_with_a_wrong_token(hub: Hub) -> None:
    with pytest.raises(ModelError, match=r"owner/model: not uploaded .*401") as caught:
        push_to_hub(classifier_parts(), "owner/model", token="hf_" + "y" * 34, endpoint=hub.endpoint)
    assert "\n" not in str(caught.value)
    assert "hf_yyy" not in str(caught.value)


def test_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for offline, said in ((False, "onnect"), (True, "OfflineModeIsEnabled")):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        with pytest.raises(ModelError, match=f"owner/model: not uploaded .*{said}") as caught:
            push_to_hub(classifier_parts(), "owner/model", token=TOKEN, endpoint=f"http://127.0.0.1:{port}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "owner/na me", "/abs", 3])
def test_invalid_repository_name(name: Any) -> None:
    with pytest.raises(ModelError, match="expected a name on the Hub: owner/name"):
        push_to_hub(classifier_parts(), name)


def test_model_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for path in (tmp_path / "missing", "missing", "./missing", "runs/missing", "a/b/c", "~/missing"):
        with pytest.raises(ModelError, match="no such directory; expected a model that `train` wrote"):
            nlp_app.load(path)
    with pytest.raises(ModelError, match="owner/name: no such directory, and HF_HUB_OFFLINE is set") as caught:
        nlp_app.load("owner/name")
    assert "\n" not in str(caught.value)


def test_card_is_saved_with_the_model(tmp_path: Path) -> None:
    save_pretrained(parts_with_card(), tmp_path / "one")
    content = (tmp_path / "one" / "README.md").read_bytes()
    assert content == b"---\ntags: [mine]\n---\n# " + "我的".encode() + b" card\r\n"
    (tmp_path / "one" / "README.md").write_bytes(content + b"\xff")
    save_pretrained(nlp_app.load(tmp_path / "one").parts, tmp_path / "two")
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_card_of_a_transformers_model_is_saved(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "stock", ["Rome"], "token", ["O", "PER"])
    (tmp_path / "stock" / "README.md").write_text("---\nlicense: mit\n---\n# Theirs\n")
    save_pretrained(read_model(tmp_path / "stock"), tmp_path / "ours")
    assert (tmp_path / "ours" / "README.md").read_text() == "---\nlicense: mit\n---\n# Theirs\n"


def test_a_model_without_a_card_gets_one(tmp_path: Path) -> None:
    write_model(classifier_parts(), tmp_path / "bare")
    save_pretrained(nlp_app.load(tmp_path / "bare").parts, tmp_path / "with")
    text = (tmp_path / "with" / "README.md").read_text()
    assert text == plain_card(classifier_parts())
    assert ModelCard(text).data.pipeline_tag == "text-classification"
    assert "classify(" in text


SCORES = {
    "dev": {"f1": 0.51239, "accuracy": 0.9, "per_type": {"PER": {"f1": 1.0}}},
    "test": {"accuracy": 0.8, "weighted_f1": 0.7, "macro_f1": 0.6},
}


def test_card_metadata_for_the_hub(tmp_path: Path) -> None:
    parts = read_model(tiny_bert(tmp_path, ["Rome"], "token", ["O", "PER"]))
    text = front_matter(parts, SCORES, {"test": "wnut17.test.conll: 'quoted'"}, "owner/base")
    assert text.startswith("---\n")
    assert text.endswith("\n---\n")
    values = yaml.safe_load(text.strip("-\n"))
    assert values["library_name"] == "nlp_app"
    assert values["pipeline_tag"] == "token-classification"
    assert values["base_model"] == "owner/base"
    assert "named-entity-recognition" in values["tags"]
    assert "license" not in values
    data = ModelCard(text + "# Model\n").data
    found = {(r.dataset_name, r.metric_name): r.metric_value for r in data.eval_results}
    assert found == {
        ("dev", "F1"): 0.5124,
        ("dev", "accuracy"): 0.9,
        ("wnut17.test.conll: 'quoted'", "accuracy"): 0.8,
        ("wnut17.test.conll: 'quoted'", "weighted F1"): 0.7,
        ("wnut17.test.conll: 'quoted'", "macro F1"): 0.6,
    }


def test_local_directory_is_not_a_base_model(tmp_path: Path) -> None:
    parts = read_model(tiny_bert(tmp_path, ["Rome"], "token", ["NOUN", "VERB"]))
    values = yaml.safe_load(front_matter(parts, {}, pretrained=str(tmp_path)).strip("-\n"))
    assert "base_model" not in values
    assert "model-index" not in values
    assert "named-entity-recognition" not in values["tags"]


def test_unwritable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="can't write the model"):
        save_pretrained(classifier_parts(), tmp_path / "file" / "model")
    (tmp_path / "model" / "README.md").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"README\.md: can't be written"):
        save_pretrained(classifier_parts(), tmp_path / "model")
    assert not list((tmp_path / "model").glob(".*"))
