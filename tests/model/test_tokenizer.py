"""Tokenizers: our whole words, and CLIP's byte pairs in each of the forms that checkpoints bring."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from prost.errors import CheckpointError, EmptyQuery
from prost.model.tokenizer import CLIP_MERGES, UNKNOWN, find_tokenizer, whole_words


def test_a_cut_sentence_keeps_its_end_token() -> None:
    tokenize = whole_words(["a", "b", "c", "d"])
    ids, mask = tokenize(["a b c d", "a b"], 4)
    assert ids.tolist() == [[1, 3, 4, 2], [1, 3, 4, 2]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
    assert tokenize.count("a b c d") == 6


def test_short_sentences_are_padded_with_zero() -> None:
    ids, mask = whole_words(["a"])(["a"], 6)
    assert ids.tolist() == [[1, 3, 2, 0, 0, 0]]
    assert mask.sum() == 3


@pytest.mark.parametrize("nothing", ["", "   ", "\n"])
def test_a_text_without_a_word_is_refused(nothing: str) -> None:
    with pytest.raises(EmptyQuery, match="holds no word"):
        whole_words(["a"])([nothing], 4)


def test_unknown_words_are_named_as_they_were_written() -> None:
    tokenize = whole_words(["a", "ball", ","])
    assert tokenize.unknown("A Frisbee, a ball") == ["Frisbee"]
    ids, _ = tokenize(["frisbee"], 4)
    assert ids.tolist() == [[1, 0, 2, 0]]
    assert UNKNOWN not in tokenize.unknown("a ball")


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    tokenize = whole_words(["red", "ball"])
    tokenize.save(tmp_path)
    again = find_tokenizer(tmp_path)
    assert again is not None
    assert torch.equal(again(["a red ball"], 8)[0], tokenize(["a red ball"], 8)[0])


def write_openai_vocabulary(folder: Path, merges: list[str]) -> None:
    """A file of the layout and length of OpenAI's: a version, our merges, then others up to more than are used."""
    letters = [chr(code) for code in (*range(ord("!"), ord("~") + 1), *range(0xAE, 0x100))]
    others = (f"{left} {right}{end}" for end in ("</w>", "") for left in letters for right in letters)
    filled = [*merges, *(pair for pair in others if pair not in merges)][: CLIP_MERGES + 5]
    text = "\n".join(["#version: 0.2", *filled])
    (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(text.encode()))


def test_openais_byte_pairs(tmp_path: Path) -> None:
    write_openai_vocabulary(tmp_path, ["d o", "do g</w>"])
    tokenize = find_tokenizer(tmp_path)
    assert tokenize is not None
    assert tokenize.vocabulary == 49408
    ids, _ = tokenize(["A DOG!"], 6)
    # Bytes that print are numbered from "!" (0); the same ending a word, 256 later; then merges, start, end.
    a_ending, exclamation_ending = 256 + ord("a") - ord("!"), 256
    assert ids.tolist() == [[49406, a_ending, 512 + 1, exclamation_ending, 49407, 0]]
    assert tokenize.unknown("zebra Ж") == []


def test_the_hubs_two_files_give_the_same_ids(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_openai_vocabulary(tmp_path / "a", ["d o", "do g</w>"])
    first = find_tokenizer(tmp_path / "a")
    assert first is not None
    (tmp_path / "b" / "vocab.json").write_text(json.dumps(first._tokenizer.get_vocab()))
    packed = (tmp_path / "a" / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    used = gzip.decompress(packed).decode().split("\n")[: CLIP_MERGES + 1]
    (tmp_path / "b" / "merges.txt").write_text("\n".join(used) + "\n")
    second = find_tokenizer(tmp_path / "b")
    assert second is not None
    assert torch.equal(first(["dog dogs"], 8)[0], second(["dog dogs"], 8)[0])


def test_no_vocabulary_and_a_broken_one(tmp_path: Path) -> None:
    assert find_tokenizer(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        find_tokenizer(tmp_path)
