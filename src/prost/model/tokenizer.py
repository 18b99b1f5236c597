"""Sentences to ids: the tokenizers that come with checkpoints."""

from __future__ import annotations

import gzip
import html
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from prost.errors import CheckpointError, EmptyQuery, UsageError
from prost.printable import is_utf8

# Marks OpenAI's vocabulary, in whatever file it comes: its texts are cleaned first.
OPENAI_START = "<|startoftext|>"
UNKNOWN, START, END = "<unknown>", "<start>", "<end>"
# OpenAI's file lists 262,145 merges; CLIP uses those that fill its vocabulary of 49,408 beside 512 byte symbols and
# two special tokens.
CLIP_VOCABULARY = 49408
# Special tokens, English clitics, words, single digits, and runs of other signs: what byte pairs are merged within.
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
CLIP_MERGES = CLIP_VOCABULARY - 2 * 256 - 2

# Their ids tell apart tokenizers that share a vocabulary and split words differently.
PLAIN_SENTENCES = (
    "two people are talking in the kitchen while a dog catches a frisbee",
    "unbelievably long thunderstorms afterwards",
)

# Function words: a sentence of nothing else describes no picture.
_FUNCTION_WORDS = """
    a an the this that these those it its he she they we i you his her their our my your of in on at to from with by
    for as and or but not no so if then than is are was were be been being am do does did has have had will
    would can could there here who which what when where how
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())


def says_nothing(sentence: str) -> bool:
    """Whether a sentence has words, and all of them are stop words.

    >>> says_nothing("It is there."), says_nothing("it is raining"), says_nothing("")
    (True, False, False)
    """
    words = re.findall(r"\w+", sentence.lower())
    return bool(words) and STOP_WORDS.issuperset(words)


def clean_text(text: str) -> str:
    """Clean a text as OpenAI's tokenizer does before it looks for byte pairs (its function basic_clean).

    Broken encodings are repaired, typographic quotes and full-width letters become plain ones, and HTML entities are
    resolved twice. `transformers` leaves this step out, so its ids differ for such texts.

    >>> clean_text("someone\u2019s dog &amp;amp; cat ")
    "someone's dog & cat"
    """
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


class Word(NamedTuple):
    """A word of a sentence.

    Attributes:
        text: as it is written; empty for the start and the end token.
        positions: of its ids among those of the sentence.
        rest: the sentence without the word.
    """

    text: str
    positions: tuple[int, ...]
    rest: str


class WordTokenizer:
    """Sentences to ids of a fixed number of words, as text towers want them.

    Args:
        tokenizer: adds its own special tokens, such as a start and an end token.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._clean = clean_text if tokenizer.token_to_id(OPENAI_START) is not None else str.strip
        # Names of the unknown token in the vocabularies of Toybox, BERT, and sentencepiece.
        names = (UNKNOWN, "[UNK]", "<unk>")
        self._unknown = {id for name in names if (id := tokenizer.token_to_id(name)) is not None}
        self._count_special()

    def _count_special(self) -> None:
        """Count the special tokens of a text, and those behind its words, which stay when it is cut."""
        tokenizer = self._tokenizer
        with_them, without = (tokenizer.encode("a", add_special_tokens=add).ids for add in (True, False))
        self._special = len(with_them) - len(without)
        self._ends = next(
            (
                end
                for end in range(self._special + 1)
                if with_them[: len(with_them) - end][-len(without) :] == without
            ),
            0,
        )

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        return int(self._tokenizer.get_vocab_size())

    def id_of(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it; None if it is not there."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def normalise_as(self, family: str) -> None:
        """Add what a family did to texts before their tokens in training, if its tokenizer files leave it out.

        SigLIP: lower case, no ASCII punctuation, single spaces. SigLIP 2: lower case, an end token and no start token.

        Args:
            family: of a dual encoder; others than these two are left as they are.
        """
        steps: list[Any] = []
        if family in ("siglip", "siglip2"):
            steps.append(normalizers.Lowercase())
        if family == "siglip":
            steps += [
                normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""),
                normalizers.Replace(Regex(r"\s+"), " "),
                normalizers.Strip(),
            ]
        if not steps:
            return
        if self._tokenizer.normalizer is not None:
            steps.append(self._tokenizer.normalizer)
        self._tokenizer.normalizer = normalizers.Sequence(steps)
        end = self.id_of("<eos>")
        if family == "siglip2" and end is not None:
            self._tokenizer.post_processor = processors.TemplateProcessing(
                single="$A <eos>", special_tokens=[("<eos>", end)]
            )
        self._count_special()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary and of the ids of two plain sentences.

        It does not hash the file, since the three forms of CLIP's vocabulary, and later versions of the tokenizers
        library, write the same tokenizer differently.
        """
        vocabulary = sorted(self._tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        ids = [self._tokenizer.encode(sentence).ids for sentence in PLAIN_SENTENCES]
        return blake2b(json.dumps([vocabulary, ids]).encode(), digest_size=12).hexdigest()

    def __call__(self, sentences: Sequence[str], max_words: int, padding: int = 0) -> tuple[Tensor, Tensor]:
        """Tokenise, cut and pad.

        A sentence that is too long keeps its end token; shorter ones are padded.

        Args:
            sentences: B texts.
            max_words: T, start and end token included.
            padding: id to pad with; 0 in the authors' models.

        Returns:
            ids and mask, int64 `[B, T]`; the mask is 1 where there is a word.

        Raises:
            EmptyQuery: a text without a word.
            UsageError: a text that is not UTF-8.
        """
        ids = torch.full((len(sentences), max_words), padding, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sentence in enumerate(sentences):
            tokens = self._encode(sentence)
            tokens = [tokens[place] for place in self._kept(len(tokens), max_words)]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids, mask

    def _kept(self, tokens: int, max_words: int) -> list[int]:
        """Places of the tokens of a sentence that are left when it is cut: the first ones, and those after its end."""
        if tokens <= max_words:
            return list(range(tokens))
        return [*range(max_words - self._ends), *range(tokens - self._ends, tokens)]

    def _encode(self, sentence: str) -> list[int]:
        if not is_utf8(sentence):
            raise UsageError(
                f"the text '{sentence}' holds bytes that are not UTF-8",
                "UTF-8",
                "check the terminal's encoding",
            )
        tokens: list[int] = self._tokenizer.encode(self._clean(sentence)).ids
        if len(tokens) <= self._special:
            raise EmptyQuery(f"the text {sentence!r} holds no word", "a sentence", "say what should be seen")
        return tokens

    def count(self, sentence: str) -> int:
        """Tokens of a sentence before any cut, start and end included."""
        return len(self._encode(sentence))

    def unknown(self, sentence: str) -> list[str]:
        """Words of a sentence that are not in the vocabulary; always empty for byte-level vocabularies."""
        encoded = self._tokenizer.encode(sentence)
        return [
            sentence[start:end]
            for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True)
            if token in self._unknown
        ]

    def words(self, sentence: str, max_words: int) -> list[Word]:
        """The words of a sentence as the text tower reads them, each with its positions among the ids.

        The start and end token are words too, with an empty text, so that every position belongs to one word.

        Args:
            sentence: a text.
            max_words: as for a call.

        Raises:
            EmptyQuery, UsageError: as for a call.

        >>> whole_words(["a", "ball"]).words("a ball", 8)[2]
        Word(text='ball', positions=(2,), rest='a')
        """
        self._encode(sentence)  # its errors
        cleaned = self._clean(sentence)
        encoded = self._tokenizer.encode(cleaned)
        places = self._kept(len(encoded.ids), max_words)
        pieces: list[tuple[int | None, list[int]]] = []  # number of a word, and the positions of its ids
        for position, place in enumerate(places):
            number = encoded.word_ids[place]
            if number is not None and pieces and pieces[-1][0] == number:
                pieces[-1][1].append(position)
            else:
                pieces.append((number, [position]))
        words = []
        for number, positions in pieces:
            start, end = encoded.offsets[places[positions[0]]][0], encoded.offsets[places[positions[-1]]][1]
            text = "" if number is None else cleaned[start:end].strip()
            rest = (
                cleaned if number is None else f"{cleaned[:start].rstrip()} {cleaned[end:].lstrip()}".strip()
            )
            words.append(Word(text, tuple(positions), rest))
        return words

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`."""
        self._tokenizer.save(str(folder / "tokenizer.json"))


def whole_words(vocabulary: Iterable[str]) -> WordTokenizer:
    """Build a tokenizer that knows whole lower-case words.

    Args:
        vocabulary: the words, including the punctuation that should get ids.

    >>> whole_words(["a", "ball"])(["A ball"], 5)[0].tolist()
    [[1, 3, 4, 2, 0]]
    """
    ids = {token: number for number, token in enumerate([UNKNOWN, START, END, *sorted(set(vocabulary))])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return WordTokenizer(tokenizer)


# What reading a vocabulary raises where it is cut short, or holds something else.
UNREADABLE = (OSError, EOFError, ValueError, KeyError, zlib.error)


def find_tokenizer(folder: Path) -> WordTokenizer | None:
    """Open the vocabulary in a folder. CLIP's is published in three forms, BERT's in two, and any of them will do.

    Raises:
        CheckpointError: a vocabulary that cannot be read.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            return WordTokenizer(Tokenizer.from_file(str(folder / "tokenizer.json")))
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
            return _byte_pairs(vocabulary, _merges(lines))
        if (folder / "vocab.txt").is_file():
            return _word_pieces(folder)
        if (folder / "bpe_simple_vocab_16e6.txt.gz").is_file():
            with gzip.open(folder / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
                # The file holds five times as many; those after CLIP's would only make a search wait.
                merges = _merges(list(islice(file, 1 + CLIP_MERGES)))
            return _byte_pairs(_openai_vocabulary(merges), merges)
    except Exception as error:
        # The tokenizers library raises bare Exception; other classes are those of reading, or faults of ours.
        if type(error) is not Exception and not isinstance(error, UNREADABLE):
            raise
        raise CheckpointError(
            f"the vocabulary in {folder} cannot be read ({' '.join(str(error).split())})"
        ) from None
    return None


def _word_pieces(folder: Path) -> WordTokenizer:
    """BERT's WordPiece from `vocab.txt`, one token a line; `tokenizer_config.json` says whether case is kept."""
    place = folder / "tokenizer_config.json"
    stated = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    ids = {token.rstrip("\r"): number for number, token in enumerate(tokens) if token}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=stated.get("do_lower_case", True),
        strip_accents=stated.get("strip_accents"),
        handle_chinese_chars=stated.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return WordTokenizer(tokenizer)


def _merges(lines: list[str]) -> list[tuple[str, str]]:
    """Pairs of a merges file, whose first line is a version."""
    return [(left, right) for left, right in (line.split() for line in lines[1:] if line.strip())]


def _openai_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Number the symbols as OpenAI's CLIP does: bytes, bytes that end a word, merges, start, end."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    # Bytes that print stand for themselves and come first; the others borrow letters beyond Latin-1.
    symbols = [chr(byte) for byte in printable] + [chr(256 + extra) for extra in range(256 - len(printable))]
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges)]
    return {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def _byte_pairs(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> WordTokenizer:
    """CLIP's tokenizer, as the class of `transformers` makes it, which the tests compare with this one."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=end, continuing_subword_prefix="", end_of_word_suffix="</w>")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([start, end])
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, vocabulary[end]), (start, vocabulary[start]), trim_offsets=False, add_prefix_space=False
    )
    return WordTokenizer(tokenizer)
