"""Pulling models from a server that is slow, cut off, wrong or full, over both interfaces."""

import hashlib
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.golden_reference import load_golden
from transformers import CLIPConfig, CLIPModel

import prost
from prost.config import ModelConfig
from prost.errors import DownloadFailed, ModelNotHere, StorageError, UsageError
from prost.model import fetching
from prost.model.catalogue import ENTRIES
from prost.model.checkpoint import save
from prost.model.fetching import pull, remove
from prost.model.locating import RECORD, find_named, models_folder, pulled_folder, pulled_models, read_record
from prost.model.prost import ProST

from .hub_server import SHA, HubServer
from .released_models import FAMILIES

SIGLIP = "google/siglip2-base-patch16-224"
PROST = "damo/multi_modal_clip_vtretrieval_prost"
BIG = 200_000


def contents(**others: bytes) -> dict[str, bytes]:
    """Files as in the repository of a model, in more than one page of the list."""
    return {
        ".gitattributes": b"*.bin filter=lfs", "README.md": b"# a card", "config.json": b'{"model_type": "siglip"}',
        "model.safetensors": random.Random(0).randbytes(BIG), "preprocessor_config.json": b"{}",
        "pytorch_model.bin": b"the same again", "special_tokens_map.json": b"{}", "tokenizer.json": b'{"a": 1}',
        "onnx/model.safetensors": b"another form", **others,
    }  # fmt: skip


NEEDED = [
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
]


# What else lies in the repositories, as other programs need it.
OTHER_FILES = {
    "clip": ["README.md", "flax_model.msgpack", "pytorch_model.bin", "tf_model.h5"],
    "siglip2": ["README.md"],
    "metaclip2": ["README.md"],
    "chinese_clip": ["README.md", "clip_cn_vit-b-16.pt"],
}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start_pull(name: str = "siglip2-b16") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "prost", "models", "pull", name], stderr=subprocess.PIPE)


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class TestWhole:
    def test_only_what_makes_the_model_is_fetched_and_recorded(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        seen: list[tuple[int, int, str]] = []
        folder = pull("siglip2-b16", lambda *at: seen.append(at))
        assert folder == pulled_folder("siglip2-b16")
        assert names_in(folder) == sorted([*NEEDED, RECORD])
        assert all((folder / name).read_bytes() == contents()[name] for name in NEEDED)
        record = read_record(folder)
        assert record is not None and (record.source, record.revision) == (f"hub:{SIGLIP}", SHA)
        assert record.digests["model.safetensors"] == (
            "sha256:" + hashlib.sha256(contents()["model.safetensors"]).hexdigest()
        )
        assert record.digests["config.json"].startswith("git:")
        total = sum(len(contents()[name]) for name in NEEDED)
        assert seen[-1][:2] == (total, total) and [at[0] for at in seen] == sorted(at[0] for at in seen)
        assert names_in(models_folder()) == [".siglip2-b16.lock", "siglip2-b16"]

    def test_a_second_pull_asks_nothing(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        pull("siglip2-b16")
        asked = len(hub.requests)
        assert pull("siglip2-b16", offline=True) == pulled_folder("siglip2-b16")
        assert len(hub.requests) == asked

    def test_modelscope(self, hub: HubServer) -> None:
        hub.repositories[PROST] = {
            "README.md": b"# a card", "configuration.json": b'{"paras": {}}',
            "pytorch_model.bin": random.Random(1).randbytes(BIG), "bpe_simple_vocab_16e6.txt.gz": b"words",
            "resources/picture.png": b"",
        }  # fmt: skip
        folder = pull("prost-msrvtt-b16")
        assert names_in(folder) == [
            "bpe_simple_vocab_16e6.txt.gz", "configuration.json", "pytorch_model.bin", RECORD
        ]  # fmt: skip
        record = read_record(folder)
        assert record is not None and (record.source, record.revision) == (f"modelscope:{PROST}", SHA)
        assert all(digest.startswith("sha256:") for digest in record.digests.values())

    def test_a_model_on_the_hub_opens_once_it_was_asked_for(
        self, hub: HubServer, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        torch.manual_seed(0)
        model = ProST(ModelConfig.parse({**tiny, "name": "tiny", "token_shift_blocks": []}), None)
        save(model, tmp_path / "published")
        hub.add("someone/tiny", tmp_path / "published")
        with pytest.raises(ModelNotHere, match="prost models pull someone/tiny"):
            prost.load("someone/tiny")
        assert hub.requests == []
        assert prost.load("someone/tiny", download=True).fingerprint == model.fingerprint
        assert prost.load("someone/tiny").fingerprint == model.fingerprint
        assert [record.name for record in pulled_models()] == ["someone/tiny"]

    @pytest.mark.parametrize(
        ("name", "family"),
        [
            ("siglip2-b16", "siglip2"), ("clip-b32", "clip"), ("metaclip2-b16", "metaclip2"),
            ("chinese-clip-b16", "chinese_clip"),
        ],
    )  # fmt: skip
    def test_what_transformers_writes_is_pulled_and_opened_by_name(
        self, hub: HubServer, tmp_path: Path, name: str, family: str
    ) -> None:
        torch.manual_seed(0)
        published = tmp_path / "published"
        FAMILIES[family]().save(published)
        before = prost.load(published).fingerprint
        if family == "chinese_clip":  # it has no safetensors
            torch.save(load_file(published / "model.safetensors"), published / "pytorch_model.bin")
            (published / "model.safetensors").unlink()
        for other in OTHER_FILES[family]:
            (published / other).write_bytes(random.Random(4).randbytes(20_000))
        hub.add(ENTRIES[name].repository, published)
        with pytest.raises(ModelNotHere):
            prost.load(name)
        folder = pull(name)
        model = prost.load(name)
        assert (model.fingerprint, model.config.name) == (before, name)
        assert not set(names_in(folder)) & set(OTHER_FILES[family])

    def test_the_authors_model_from_modelscope(self, hub: HubServer) -> None:
        state, content = load_golden("prost_modelscope_b16").draw_weights(), io.BytesIO()
        torch.save({key: tensor.half() for key, tensor in state.items()}, content)
        hub.repositories[PROST] = {
            ".mdl": b"x", "README.md": b"# a card", "pytorch_model.bin": content.getvalue(),
            "configuration.json": json.dumps({"paras": {"max_words": 20}, "crossbase": {}}).encode(),
        }  # fmt: skip
        model = prost.load("prost-msrvtt-b16", download=True)
        assert isinstance(model, ProST)
        assert (model.config.name, model.config.max_words) == ("prost-msrvtt-b16", 20)

    def test_a_model_of_the_hubs_cache_has_the_name_that_was_given(
        self, hub: HubServer, tmp_path: Path
    ) -> None:
        snapshot = tmp_path / "hf/hub/models--openai--clip-vit-base-patch32/snapshots/abc"
        torch.manual_seed(0)
        FAMILIES["clip"]().save(snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("abc")
        assert prost.load("clip-b32").config.name == "clip-b32"
        assert prost.load("clip-b32").config.object_phrase_weight == 1.0
        assert hub.requests == []

    def test_mean_pooled_clip4clip_compares_the_mean_of_the_frames_alone(
        self, hub: HubServer, tmp_path: Path, toybox_folder: Path
    ) -> None:
        repository = tmp_path / "hf/hub/models--Searchium-ai--clip4clip-webvid150k"
        torch.manual_seed(0)
        FAMILIES["clip"]().save(repository / "snapshots" / "abc")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("abc")
        model = prost.load("clip4clip-webvid", "cpu")
        videos = sorted(toybox_folder.glob("*.mp4"))[:3]
        text, video = model.encode_text(["a red ball", "two dogs"]), model.encode_video(videos)
        # CLIP4Clip's meanP: the cosine of the sentence and the mean of the unit vectors of the frames.
        frames = video.object[:, :, 0] / video.object[:, :, 0].norm(dim=-1, keepdim=True)
        mean = frames.mean(dim=1)
        mean = mean / mean.norm(dim=-1, keepdim=True)
        sentence = text.sentence / text.sentence.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(model.match(text, video).total, sentence @ mean.T)

    def test_the_layout_of_open_clip(self, hub: HubServer) -> None:
        small = ["merges.txt", "open_clip_config.json", "special_tokens_map.json", "tokenizer.json",
                 "tokenizer_config.json", "vocab.json"]  # fmt: skip
        weights = random.Random(5).randbytes(BIG)
        hub.repositories["timm/PE-Core-B-16"] = {
            "README.md": b"# a card", **dict.fromkeys(small, b"{}"),
            "open_clip_model.safetensors": weights, "open_clip_pytorch_model.bin": weights,
        }  # fmt: skip
        folder = pull("pe-core-b16")
        assert names_in(folder) == sorted([*small, "open_clip_model.safetensors", RECORD])
        assert find_named("pe-core-b16") == folder

    def test_sharded_weights(self, hub: HubServer, tmp_path: Path) -> None:
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99}
        config = CLIPConfig(text_config=sizes, vision_config={**sizes, "image_size": 32, "patch_size": 16})
        CLIPModel(config).save_pretrained(tmp_path / "m", max_shard_size="100KB")
        shards = {path.name for path in (tmp_path / "m").glob("*.safetensors")}
        assert len(shards) > 1
        hub.add("someone/sharded", tmp_path / "m")
        assert set(names_in(pull("someone/sharded"))) == {
            *shards, "model.safetensors.index.json", "config.json", RECORD
        }  # fmt: skip

    def test_the_token_is_for_the_hub_and_not_for_its_storage(
        self, hub: HubServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        hub.repositories[SIGLIP] = contents()
        pull("siglip2-b16")
        assert hub.tokens[f"/api/models/{SIGLIP}/revision/main"] == "Bearer hf_secret"
        assert hub.tokens[f"/{SIGLIP}/resolve/{SHA}/model.safetensors"] == "Bearer hf_secret"
        assert hub.tokens[f"/storage/{SIGLIP}/model.safetensors"] is None


class TestInterrupted:
    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
    def test_a_killed_pull_continues_and_reads_only_the_rest(
        self, hub: HubServer, how: signal.Signals
    ) -> None:
        size = 4_000_000
        hub.repositories[SIGLIP] = contents(**{"model.safetensors": random.Random(2).randbytes(size)})
        hub.seconds_a_chunk = 0.02
        with start_pull() as process:
            wait_for(lambda: hub.sent.get("model.safetensors", 0) > size / 4)
            process.send_signal(how)
            said = process.communicate()[1].decode()
        assert ("prost models pull siglip2-b16 goes on from here\n" in said) == (how == signal.SIGINT)
        assert find_named("siglip2-b16") is None
        with pytest.raises(ModelNotHere):
            prost.load("siglip2-b16")
        (part,) = models_folder().glob(".siglip2-b16.partial/model.safetensors.*.part")
        kept = part.stat().st_size
        assert 0 < kept < size
        hub.seconds_a_chunk = 0
        wait_for(lambda: hub.answering == 0)
        hub.requests.clear()
        hub.sent.clear()
        folder = pull("siglip2-b16")
        assert (folder / "model.safetensors").read_bytes() == hub.repositories[SIGLIP]["model.safetensors"]
        assert hub.sent == {"model.safetensors": size - kept}  # what was whole is not read again
        assert [asked for _, asked in hub.contents("model.safetensors")] == [f"bytes={kept}-"] * 2

    def test_a_cut_connection_is_continued_at_once(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        hub.cuts, hub.cut_after = 5, 30_000
        folder = pull("siglip2-b16")
        assert (folder / "model.safetensors").read_bytes() == contents()["model.safetensors"]
        assert hub.sent["model.safetensors"] == BIG
        ranges = [asked for path, asked in hub.contents("model.safetensors") if path.startswith("/storage")]
        assert ranges == [None, *(f"bytes={30_000 * n}-" for n in range(1, 6))]

    def test_a_server_without_ranges_sends_the_file_again(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        hub.cuts, hub.cut_after, hub.ignores_range = 1, 30_000, True
        folder = pull("siglip2-b16")
        assert (folder / "model.safetensors").read_bytes() == contents()["model.safetensors"]

    def test_a_file_that_ends_early_is_never_taken_for_a_whole_one(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        hub.cuts, hub.cut_after = 1000, 0
        with pytest.raises(DownloadFailed, match=r"0 of 200000 bytes arrived .*pull siglip2-b16 again"):
            pull("siglip2-b16")
        assert find_named("siglip2-b16") is None
        hub.cuts = 0
        assert find_named("siglip2-b16") is None and pull("siglip2-b16")

    def test_a_part_of_another_revision_is_not_continued(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        hub.cuts, hub.cut_after = 4, 0
        with pytest.raises(DownloadFailed):
            pull("siglip2-b16")
        new = random.Random(3).randbytes(BIG)
        hub.repositories[SIGLIP] = contents(**{"model.safetensors": new})
        del hub.repositories[SIGLIP]["tokenizer.json"]
        folder = pull("siglip2-b16")
        assert (folder / "model.safetensors").read_bytes() == new
        assert names_in(folder) == sorted([*NEEDED[:-1], RECORD])

    def test_a_file_that_was_lost_is_fetched_alone(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        folder = pull("siglip2-b16")
        (folder / "tokenizer.json").unlink()
        hub.sent.clear()
        assert find_named("siglip2-b16") is None
        assert pull("siglip2-b16") == folder and names_in(folder) == sorted([*NEEDED, RECORD])
        assert list(hub.sent) == ["tokenizer.json"]

    def test_a_host_that_is_busy_for_a_moment_is_asked_again(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        hub.failures = 2
        assert pull("siglip2-b16")
        assert hub.requests[0][1] == hub.requests[2][1]

    def test_two_pulls_at_once_read_each_byte_once(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        hub.seconds_a_chunk = 0.02
        folders: list[Path] = []
        threads = [threading.Thread(target=lambda: folders.append(pull("siglip2-b16"))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert folders == [pulled_folder("siglip2-b16")] * 2
        assert hub.sent["model.safetensors"] == BIG


class TestRefused:
    def test_other_bytes_than_the_host_lists(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        hub.changed = {"config.json"}
        with pytest.raises(DownloadFailed, match=r"config\.json: what arrived is not .*\(git:"):
            pull("siglip2-b16")
        hub.changed = {"model.safetensors"}
        with pytest.raises(DownloadFailed, match=r"not what the host lists \(sha256:"):
            pull("siglip2-b16")
        hub.changed = set()
        assert pull("siglip2-b16")

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (404, "not found"),
            (401, "check the name; for a gated model"),
            (403, "accept its terms"),
            (400, "answers 400"),
        ],
    )
    def test_a_repository_that_is_not_given(self, hub: HubServer, status: int, words: str) -> None:
        hub.status["someone/absent"] = status
        with pytest.raises(DownloadFailed, match=words) as caught:
            pull("someone/absent")
        assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
        assert not any(path.is_dir() for path in models_folder().iterdir())

    def test_no_network(self, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(DownloadFailed) as caught:
            pull("siglip2-b16")
        said = str(caught.value)
        assert "refused" in said and "\n" not in said
        assert f"http://127.0.0.1:9/{SIGLIP} into {pulled_folder('siglip2-b16')}" in said

    @pytest.mark.parametrize("how", ["argument", "variable"])
    def test_offline_asks_nobody(self, hub: HubServer, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
        hub.repositories[SIGLIP] = contents()
        if how == "variable":
            monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadFailed, match=r"switched off .* copy the configuration"):
            pull("siglip2-b16", offline=how == "argument")
        assert hub.requests == []

    def test_a_page_in_the_hosts_place(self, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "tests.model.hub_server._Handler._revision",
            lambda self, *_: self._answer(200, b"<html>log in</html>"),
        )
        hub.repositories[SIGLIP] = contents()
        with pytest.raises(DownloadFailed, match=r"list of files cannot be read .* login page"):
            pull("siglip2-b16")

    def test_a_repository_without_weights(self, hub: HubServer) -> None:
        hub.repositories["someone/jax"] = {"config.json": b"{}", "flax_model.msgpack": b"x"}
        with pytest.raises(DownloadFailed, match="holds no weights that prost opens"):
            pull("someone/jax")

    @pytest.mark.parametrize(
        "name", ["../x", "a/../b", "siglip", "a/b/c", "/etc/passwd", "..", "a/..", "./a/b"]
    )
    def test_what_is_no_name(self, hub: HubServer, name: str) -> None:
        for attempt in (pull, remove):
            with pytest.raises(UsageError, match="is no name of a model"):
                attempt(name)
        assert hub.requests == []

    def test_names_of_files_that_would_lie_elsewhere_are_left_out(
        self, hub: HubServer, tmp_path: Path
    ) -> None:
        hub.repositories[PROST] = {"pytorch_model.bin": b"w", "../evil.json": b"{}", "/tmp/evil.json": b"{}"}
        assert names_in(pull("prost-msrvtt-b16")) == ["pytorch_model.bin", RECORD]
        assert not list(tmp_path.rglob("evil.json"))

    def test_too_little_space_is_said_before_anything_is_read(
        self, hub: HubServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.repositories[SIGLIP] = contents()
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(StorageError, match=r"needs [0-9.]+ k?B more, and 1\.0 kB are free"):
            pull("siglip2-b16")
        assert hub.sent == {}

    def test_a_disk_that_fills_up_keeps_what_arrived(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        code = limit + "from prost.apps.cli import main; sys.exit(main(['models', 'pull', 'siglip2-b16']))"
        finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert finished.returncode == 1
        assert finished.stderr.startswith("error: ") and "File too large" in finished.stderr
        assert find_named("siglip2-b16") is None
        hub.sent.clear()
        assert pull("siglip2-b16")
        assert hub.sent["model.safetensors"] == BIG - 100_000

    def test_a_place_that_cannot_be_written(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        models_folder().parent.mkdir(parents=True)
        models_folder().touch()
        with pytest.raises(StorageError, match=r"siglip2-b16 cannot be written \(File exists\)"):
            pull("siglip2-b16")


class TestRemoving:
    def test_a_pulled_model_and_an_interrupted_one(self, hub: HubServer) -> None:
        hub.repositories[SIGLIP] = contents()
        folder = pull("siglip2-b16")
        assert remove("siglip2-b16") > BIG
        assert not folder.exists() and find_named("siglip2-b16") is None
        hub.cuts, hub.cut_after = 4, 0
        with pytest.raises(DownloadFailed):
            pull("siglip2-b16")
        assert remove("siglip2-b16") > 0
        assert not any(path.is_dir() for path in models_folder().iterdir())

    def test_what_was_not_pulled(self, hub: HubServer, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="bundled with prost"):
            remove("toybox")
        with pytest.raises(UsageError, match="siglip2-b16 was not pulled"):
            remove("siglip2-b16")
        snapshot = tmp_path / "hf" / "hub" / f"models--{SIGLIP.replace('/', '--')}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("abc")
        (snapshot / "config.json").write_text(json.dumps({}))
        (snapshot / "model.safetensors").write_text("weights")
        (snapshot / "vocab.txt").write_text("words")
        with pytest.raises(UsageError, match="in the hub's own cache"):
            remove("siglip2-b16")
        assert snapshot.exists()
