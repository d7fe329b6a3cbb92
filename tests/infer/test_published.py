"""Publishing and fetching as users do, against a hub that runs on this machine and speaks real HTTP."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from hub_server import Hub, running_hub
from safetensors.torch import save_file

import derain
from derain.errors import CheckpointError, MissingExtraError
from derain.models.checkpoints import read_header, with_header
from derain.models.find import is_repo_id

PICTURE = np.ascontiguousarray(skimage.data.chelsea()[:64, :96])

ANSWERS = """
import json, sys
import derain, skimage.data
from derain.errors import CheckpointError

def attempt(function, *given, **named):
    try:
        return str(function(*given, **named))
    except CheckpointError as error:
        return f"refused: {error}"

answers = {}
"""


def ask(script: str, home: Path, endpoint: str, **environment: str) -> dict[str, str]:
    """Run a script in a process of its own, for the hub's client reads its settings once; it fills `answers`."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("HF_")}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    code = f"{ANSWERS}{script}\nprint(json.dumps(answers))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=kept | settings | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answers, dict)
    return answers | {"errors": done.stderr}


@pytest.fixture(scope="module")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Hub, Path, dict[str, str]]:
    """A hub after one push by a first process, and the cache folder of a second that fetched it; the hub is gone."""
    home = tmp_path_factory.mktemp("hub")
    with running_hub() as hub:
        push = f"""
answers["push"] = derain.push_to_hub({str(checkpoint)!r}, "me/rain", private=True, message="First")
answers["again"] = attempt(derain.push_to_hub, {str(checkpoint)!r}, "me/rain")
answers["broken"] = attempt(derain.push_to_hub, sys.executable, "me/broken")
"""
        answers = ask(push, home / "writer", hub.address, HF_TOKEN=hub.may_write)
        repository = hub.repositories["me/rain"]
        repository["config.json"] = json.dumps({"publication": "x", "weights": "/etc/passwd"}).encode()
        repository["modeling.py"] = b"raise SystemExit('code of the hub was run')"
        hub.repositories["me/empty"] = {"README.md": b"nothing here"}
        hub.repositories["me/foreign"] = {"model.safetensors": _foreign(home)}
        hub.repositories["me/cut"] = {"model.safetensors": repository["model.safetensors"][:2000]}
        hub.repositories["me/size"] = {"model.safetensors": _wrong_size(checkpoint, home)}
        hub.requests.clear()
        fetch = """
restorer = derain.from_pretrained("me/rain", precision="fp32")
picture = skimage.data.chelsea()[:64, :96]
answers["restored"] = restorer(picture).tolist()
answers["by_name"] = derain.load("me/rain", precision="fp32")(picture).tolist()
answers["nothing"] = attempt(derain.load, "me/none")
for name in ("none", "empty", "foreign", "cut", "size"):
    answers[name] = attempt(derain.from_pretrained, f"me/{name}")
answers["revision"] = attempt(derain.from_pretrained, "me/rain", "v9")
answers["login"] = attempt(derain.push_to_hub, "tiny", "me/rain")
"""
        answers |= ask(fetch, home / "reader", hub.address)
    return hub, home, answers


def _foreign(folder: Path) -> bytes:
    save_file({"weight": torch.zeros(2)}, folder / "foreign.safetensors")
    return (folder / "foreign.safetensors").read_bytes()


def _wrong_size(checkpoint: Path, folder: Path) -> bytes:
    header = read_header(checkpoint)
    wider = header.settings | {"widths": [8, 16, 16, 32]}
    with_header(checkpoint, folder / "size.safetensors", header.model_copy(update={"settings": wider}))
    return (folder / "size.safetensors").read_bytes()


def test_a_push_makes_the_repository_and_commits_three_files(published, checkpoint):
    hub, _, answers = published
    repository = hub.repositories["me/rain"]
    assert answers["push"] == f"{hub.address}/me/rain/commit/0123456789abcdef0123456789abcdef01234567"
    assert hub.is_private["me/rain"]
    assert hub.commits[0] == "First"
    assert repository["model.safetensors"] == checkpoint.read_bytes()
    card = repository["README.md"].decode()
    assert card.startswith("---\nlibrary_name: derain\npipeline_tag: image-to-image\n")
    assert 'derain.from_pretrained("me/rain")' in card


def test_a_second_push_goes_to_the_same_repository(published):
    assert published[2]["again"] == published[2]["push"]


def test_broken_weights_are_refused_before_the_hub_is_asked(published):
    hub, _, answers = published
    assert answers["broken"].startswith("refused: ")
    assert "me/broken" not in hub.repositories


def test_what_was_pushed_restores_as_the_file_does(published, checkpoint):
    expected = derain.load(checkpoint, precision="fp32")(PICTURE)
    assert np.array_equal(np.array(published[2]["restored"], dtype=np.uint8), expected)
    assert published[2]["by_name"] == published[2]["restored"], "load takes owner/name, too"
    assert "me/none: no such file or folder, and on the hub" in published[2]["nothing"]


def test_nothing_but_the_weights_is_fetched(published):
    fetched = [line for line in published[0].requests if "/me/rain/" in line and not line.startswith("POST")]
    assert {line.rpartition("/")[2] for line in fetched} == {"model.safetensors"}
    assert not list(published[1].rglob("modeling.py"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "me/none: no such repository on the hub, or a private one"),
        ("empty", "me/empty: a repository without model.safetensors"),
        ("foreign", "me/foreign: its model.safetensors cannot be used: "),
        ("cut", "me/cut: its model.safetensors cannot be used: "),
        ("size", "me/size: its weights cannot be used: "),
        ("revision", "me/rain: has no revision 'v9'"),
        ("login", "me/rain: could not be pushed: "),
    ],
)
def test_what_cannot_be_had_is_one_clear_error(published, name, said):
    answer = published[2][name]
    assert answer.startswith(f"refused: {said}")
    assert "\n" not in answer
    assert len(answer) < 500


def test_reasons_say_what_is_wrong_and_what_to_do(published):
    answers = published[2]
    assert "another program's weights" in answers["foreign"]
    assert "truncated" in answers["cut"]
    assert "should be" in answers["size"]
    assert "hf auth login" in answers["login"]
    assert "401 Unauthorized" in answers["login"]


def test_fetched_weights_are_there_without_a_network(published):
    hub, home, online = published
    script = """
answers["restored"] = derain.from_pretrained("me/rain", precision="fp32")(skimage.data.chelsea()[:64, :96]).tolist()
answers["pushed"] = attempt(derain.push_to_hub, "tiny", "me/rain")
"""
    answered = ask(
        script + 'answers["fetched"] = attempt(derain.from_pretrained, "me/other")',
        home / "reader",
        hub.address,
        HF_HUB_OFFLINE="1",
    )
    unanswered = ask(script, home / "reader", _silent_address())
    for answers in (answered, unanswered):
        assert answers.pop("restored") == online["restored"]
        assert answers.pop("errors") == "", "the client's attempts are not logged one by one"
        for what, answer in answers.items():
            assert f"could not be {what}: no answer from the hub" in answer
            assert "\n" not in answer
            # What is in the cache, or in a folder, is of use to whoever fetches; a push has neither to fall back to.
            assert what == "fetched" or ("cache" not in answer and "use a folder" not in answer)
    assert "and nothing in the cache" in answered["fetched"]
    assert "or publish to a folder" in answered["pushed"]


def _silent_address() -> str:
    """An address of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_folder_needs_neither_the_hub_nor_its_extra(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "derain.models.hub", raising=False)
    folder = derain.save_pretrained(checkpoint, tmp_path / "owner" / "rain")
    restored = derain.from_pretrained(folder, precision="fp32")(PICTURE)
    assert np.array_equal(restored, derain.load(checkpoint, precision="fp32")(PICTURE))
    monkeypatch.chdir(tmp_path)
    assert derain.from_pretrained("owner/rain").header == read_header(checkpoint), "a folder comes before a repository"
    for go_to_the_hub in (lambda: derain.from_pretrained("me/rain"), lambda: derain.push_to_hub("tiny", "me/rain")):
        with pytest.raises(MissingExtraError, match=r"derain\[hub\]"):
            go_to_the_hub()


def test_a_folder_that_cannot_be_used_is_one_clear_error(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="a folder without weights"):
        derain.from_pretrained(tmp_path)
    shutil.copy(checkpoint, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="has no revisions"):
        derain.from_pretrained(tmp_path, "main")


@pytest.mark.parametrize(
    ("name", "said"), [("tiny", r"derain\.load\('tiny'\)"), ("rain", "owner/name"), ("a/b/c", "a/b/c")]
)
def test_a_name_of_neither_kind_is_answered_without_asking_the_hub(name, said):
    with pytest.raises(CheckpointError, match=said):
        derain.from_pretrained(name)
    with pytest.raises(CheckpointError, match=said):
        derain.push_to_hub("tiny", name)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("me/rain", True),
        ("Me-2/rain_v1.0", True),
        ("rain", False),
        ("./rain", False),
        ("me/rain/x", False),
        ("me/", False),
    ],
)
def test_names_of_repositories_are_distinguished_from_paths(text, is_one):
    assert is_repo_id(text) is is_one
