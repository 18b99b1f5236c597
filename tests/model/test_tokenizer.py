"""Tokenizers: our whole words, and CLIP's byte pairs in each of the forms that checkpoints bring."""

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertTokenizer, CLIPTokenizer

from prost.errors import CheckpointError, EmptyQuery, UsageError
from prost.model.tokenizer import CLIP_MERGES, UNKNOWN, WordTokenizer, find_tokenizer, whole_words


def test_a_cut_sentence_keeps_its_end_token() -> None:
    tokenize = whole_words(["a", "b", "c", "d"])
    ids, mask = tokenize(["a b c d", "a b"], 4)
    assert ids.tolist() == [[1, 3, 4, 2], [1, 3, 4, 2]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
    assert tokenize.count("a b c d") == 6


@pytest.mark.parametrize("template", ["$A", "$A [SEP]", "[CLS] $A [SEP]", "[CLS] $A", "$A [SEP] [SEP]"])
def test_the_words_of_a_cut_sentence_are_those_of_its_ids(template: str) -> None:
    tokenizer = Tokenizer(
        models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "c": 5, "d": 6}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenize = WordTokenizer(tokenizer)
    for most in (3, 4, 8):
        (ids,), _ = tokenize(["a b c d"], most)
        words = tokenize.words("a b c d", most)
        read = {position: word.text for word in words for position in word.positions}
        spelled = ["" if id < 3 else tokenizer.id_to_token(id) for id in ids.tolist()]
        assert [read[position] for position in sorted(read)] == spelled[: len(read)]
        assert not any(spelled[len(read) :])


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


def test_byte_pairs_are_those_of_transformers(tmp_path: Path) -> None:
    write_openai_vocabulary(tmp_path, ["d o", "do g</w>"])
    ours = find_tokenizer(tmp_path)
    assert ours is not None
    packed = gzip.decompress((tmp_path / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    merges: Any = [tuple(line.split()) for line in packed.split("\n")[1 : CLIP_MERGES + 1]]
    theirs = CLIPTokenizer(vocab=ours._tokenizer.get_vocab(), merges=merges).backend_tokenizer
    for kind, patterns in KINDS.items():
        for pattern in patterns:
            sentence = pattern.format("dog")
            normal = ours._tokenizer.normalizer.normalize_str(sentence)
            expected = theirs.encode(theirs.normalizer.normalize_str(normal)).ids
            assert ours._tokenizer.encode(sentence).ids == expected, kind
    own, other = (json.loads(tokenizer.to_str()) for tokenizer in (ours._tokenizer, theirs))
    for part in ("added_tokens", "pre_tokenizer", "post_processor", "decoder", "model"):
        assert own[part] == other[part], part


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


KINDS = {
    "plain": ["two men are talking in a {}", "a {} runs through the park", "kids play with a {}"],
    "typographic quotes": ["someone\u2019s {}", "\u201ca {}\u201d he said", "it\u2019s a {}, isn\u2019t it"],
    "html entities": ["a {} &amp; a dog", "&lt;b&gt;{}&lt;/b&gt;", "tom &amp;amp; {} &#39;s"],
    "mojibake": [
        "someone\u00e2\u20ac\u2122s {}",
        "caf\u00c3\u00a9 with a {}",
        "\u00e2\u20ac\u0153{}\u00e2\u20ac\u009d",
    ],
    "full width": ["\uff41 \uff52\uff45\uff44 {}", "{} \uff12\uff10\uff12\uff16", "\uff34\uff36 {}"],
    "ligatures": ["\ufb01sh and {}", "a \ufb02ying {}", "\u2163 {}s"],
    "numbers and signs": ["3.5 {}s at 10:45", "{} #1 @home 50%", "$20 for a {}!!!"],
    "contractions": ["they're {}s, we've seen", "i'm a {} and you'll see", "don't {}, he'd say"],
    "other scripts": [
        "\u041c\u043e\u0441\u043a\u0432\u0430 {}",
        "\u732b\u3068 {}",
        "\u00e9l\u00e8ve {} na\u00efve \U0001f600",
    ],
    "spaces and controls": ["  a \t {}  ", "a\u00a0{}\u200b", "{}\r\nnext\u0007"],
}
THINGS = [
    "car",
    "dog",
    "frisbee",
    "guitar",
    "kitchen",
    "bicycle",
    "horse",
    "phone",
    "boat",
    "tree",
    "cake",
    "river",
]


def openai_tokenizer() -> Any:
    """OpenAI's own tokenizer, from a published package; only the one file is loaded, the package wants torchvision."""
    found = importlib.util.find_spec("clip")
    assert found is not None and found.submodule_search_locations is not None
    file = Path(found.submodule_search_locations[0]) / "simple_tokenizer.py"
    spec = importlib.util.spec_from_file_location("openai_simple_tokenizer", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer(), file.parent


@pytest.fixture(scope="module")
def openai() -> tuple[Any, Path]:
    return openai_tokenizer()


def forms_of_the_vocabulary(folder: Path, made: Path) -> list[WordTokenizer]:
    """The original file, the two files of the hub, and one `tokenizer.json`."""
    original = find_tokenizer(folder)
    assert original is not None
    (made / "saved").mkdir()
    original.save(made / "saved")
    (made / "two").mkdir()
    lines = gzip.decompress((folder / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    (made / "two" / "merges.txt").write_text("\n".join(lines[: CLIP_MERGES + 1]) + "\n")
    (made / "two" / "vocab.json").write_text(json.dumps(original._tokenizer.get_vocab()))
    return [original, *(opened for name in ("saved", "two") if (opened := find_tokenizer(made / name)))]


def test_a_thousand_sentences_have_openais_ids(openai: tuple[Any, Path], tmp_path: Path) -> None:
    """Ten kinds of text, in each form in which the vocabulary comes."""
    theirs, folder = openai
    rng = np.random.default_rng(0)
    sentences = [
        " ".join(
            str(rng.choice(templates)).format(rng.choice(THINGS)) for _ in range(int(rng.integers(1, 4)))
        )
        for templates in KINDS.values()
        for _ in range(100)
    ]
    assert len(sentences) == 1000
    expected = [[49406, *theirs.encode(sentence), 49407] for sentence in sentences]
    forms = forms_of_the_vocabulary(folder, tmp_path)
    assert len(forms) == 3
    for ours in forms:
        for sentence, ids in zip(sentences, expected, strict=True):
            got, mask = ours([sentence], 77)
            assert got[0, : int(mask.sum())].tolist() == ids, sentence


def test_bytes_that_are_not_utf8_are_wrong_use() -> None:
    tokenizer = whole_words(["a", "ball"])
    with pytest.raises(UsageError, match=r"caf\\xe9' holds bytes that are not UTF-8"):
        tokenizer(["a caf\udce9"], 5)


def sentencepiece(words: list[str], end: str) -> Tokenizer:
    """A small vocabulary of sentencepiece's kind that leaves its texts as they are."""
    pieces = ["<pad>", end, "<unk>", *(f"▁{word}" for word in words)]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, 1)])
    return tokenizer


def test_texts_of_siglip_are_lower_case_without_punctuation(tmp_path: Path) -> None:
    tokenize = WordTokenizer(sentencepiece(["a", "dog", "dogs", "runs"], "</s>"))
    tokenize.normalise_as("siglip")
    expected = tokenize(["a dogs runs"], 8, 1)[0].tolist()
    assert expected == [[3, 5, 6, 1, 1, 1, 1, 1]]
    for written in ("A dog's runs.", "  a   (dogs)  -- runs!?", "a dogs\n\truns"):
        assert tokenize([written], 8, 1)[0].tolist() == expected, written
    with pytest.raises(EmptyQuery):
        tokenize(["?!"], 8, 1)
    tokenize.save(tmp_path)
    again = find_tokenizer(tmp_path)
    assert again is not None and again(["A dog's runs."], 8, 1)[0].tolist() == expected
    assert again.count("A dog's runs.") == 4


def test_texts_of_siglip_2_are_lower_case_and_keep_punctuation() -> None:
    tokenizer = sentencepiece(["a", "dog", "dog."], "<eos>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 1)])
    tokenize = WordTokenizer(tokenizer)
    assert tokenize(["a dog"], 5)[0].tolist() == [[1, 3, 4, 0, 0]]
    tokenize.normalise_as("siglip2")
    assert tokenize(["A Dog."], 5)[0].tolist() == [[3, 5, 1, 0, 0]]
    assert tokenize(["a a a a a a dog"], 3)[0].tolist() == [[3, 3, 1]]  # the end token stays


def test_bert_is_opened_by_either_of_its_files(tmp_path: Path) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "狗", "跑", "dog", "##s", "run", "!"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    opened = find_tokenizer(tmp_path)
    reference = BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})
    assert opened is not None
    for sentence in ("狗跑", "Dogs run!", "a dog"):
        ids, mask = opened([sentence], 8)
        assert ids[0, : int(mask.sum())].tolist() == reference(sentence)["input_ids"]
    reference.save_pretrained(tmp_path / "json")
    other = find_tokenizer(tmp_path / "json")
    assert other is not None and other.fingerprint == opened.fingerprint
    assert opened.unknown("dog 猫 run") == ["猫"]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = find_tokenizer(tmp_path)
    assert cased is not None and cased.unknown("Dog run") == ["Dog"]
