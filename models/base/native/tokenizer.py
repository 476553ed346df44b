"""A tokenizer out of a folder's `tokenizer.json`, with the methods of those of transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from models.base.native.folder import read_json

_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast", "BertTokenizer", "BertTokenizerFast")
"""What `tokenizer_config.json` names if `tokenizer.json` says everything."""
_NAMED = tuple(f"{n}_token" for n in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


class Tokenizer:
    """Texts to token ids and back.

    Args:
        backend: does the work.
        config: what `tokenizer_config.json` says.
        chat_template: in Jinja; None if the model knows no chats.

    Attributes:
        backend_tokenizer: as given.
        chat_template: as given.
        unk_token: what stands for the unknown.
        unk_token_id, bos_token_id, eos_token_id, cls_token_id, sep_token_id, pad_token_id: of the
            tokens that have a part to play; None for those that this one does not have.
    """

    def __init__(
        self, backend: Backend, config: dict[str, Any], chat_template: str | None = None
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend_tokenizer, self.chat_template = backend, chat_template
        self._named: dict[str, str] = {}
        for name in _NAMED:
            token = config.get(name)
            token = token["content"] if isinstance(token, dict) else token
            if token is not None:
                self._named[name] = token
        self.unk_token = self._named.get("unk_token")
        self.unk_token_id = self._id("unk_token")
        self.bos_token_id, self.eos_token_id = self._id("bos_token"), self._id("eos_token")
        self.cls_token_id, self.sep_token_id = self._id("cls_token"), self._id("sep_token")
        self.pad_token_id = self._id("pad_token")

    @classmethod
    def load(cls, folder: Path) -> Tokenizer | None:
        """Read a folder; None if it holds another kind, then transformers may know it."""
        config = read_json(folder / "tokenizer_config.json")
        if config.get("tokenizer_class") not in _CLASSES:
            return None
        if config.get("clean_up_tokenization_spaces") or config.get("add_bos_token"):
            return None
        template = config.get("chat_template")
        try:
            if (folder / "chat_template.jinja").is_file():
                template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
            if not isinstance(template, str | None):
                return None
            backend = Backend.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
            tokenizer = cls(backend, config, template)
        except Exception:  # the library has no class of its own for what it cannot read
            return None
        known = all(tokenizer._id(name) is not None for name in tokenizer._named)
        return tokenizer if known else None

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        split_special_tokens: bool = False,
        return_offsets_mapping: bool = False,
        **_: Any,
    ) -> dict[str, list[Any]]:
        """Return the `input_ids` of a text, or of several, and their `offset_mapping`.

        Args:
            texts: one text or several.
            add_special_tokens: add those that the model expects around a text.
            split_special_tokens: what looks like one in a text is text.
            return_offsets_mapping: give the place of each token, too.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        self.backend_tokenizer.encode_special_tokens = split_special_tokens
        read = self.backend_tokenizer.encode_batch(several, add_special_tokens=add_special_tokens)
        found: dict[str, list[Any]] = {"input_ids": [each.ids for each in read]}
        if return_offsets_mapping:
            found["offset_mapping"] = [each.offsets for each in read]
        return {n: rows[0] for n, rows in found.items()} if isinstance(texts, str) else found

    def decode(self, ids: int | Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of token ids."""
        ids = [ids] if isinstance(ids, int) else list(ids)
        return self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def get_vocab(self) -> dict[str, int]:
        """Return the id of every token."""
        return self.backend_tokenizer.get_vocab()

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    @cached_property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens that are not of the vocabulary proper, by id."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of the tokens that have a name."""
        return [token for name in self._named if (token := self._id(name)) is not None]

    def _id(self, name: str) -> int | None:
        token = self._named.get(name)
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    def apply_chat_template(
        self,
        messages: Sequence[dict[str, str]],
        *,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
        **_: Any,
    ) -> Any:
        """Return messages in the chat template, as `input_ids` or as text."""
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        text = environment.from_string(self.chat_template or "").render(
            messages=messages,
            add_generation_prompt=add_generation_prompt,
            **self._named,
        )
        return self(text, add_special_tokens=False) if tokenize else text
