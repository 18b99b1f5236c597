"""Sentences that have nothing to do with a library."""

import prost
from prost.search.confidence import number_of_words
from prost.search.unrelated import COUNT, plain_sentences, unrelated_sentences


class _KnowsEverything:
    def unknown_words(self, sentence: str) -> list[str]:
        return []


def test_plain_sentences_are_many_different_ones_and_the_same_each_time() -> None:
    sentences = unrelated_sentences(_KnowsEverything())
    assert len(set(sentences)) == COUNT
    assert sentences == plain_sentences(COUNT)
    assert sentences[:10] == unrelated_sentences(_KnowsEverything(), 10)


def test_they_are_of_all_lengths_from_the_first_few_on() -> None:
    """A query is compared with those that claim as much."""
    for reader in (_KnowsEverything(), prost.load("toybox")):
        lengths = sorted(number_of_words(sentence) for sentence in unrelated_sentences(reader, 64))
        assert lengths[10] <= 6 and lengths[-10] >= 14, lengths


def test_subject_and_verb_agree() -> None:
    for sentence in plain_sentences(2000):
        many = sentence.startswith(("two ", "three "))
        verb = sentence.split()[2]
        if many:
            assert verb.endswith("ss") or not verb.endswith("s"), sentence


def test_a_model_of_drawn_videos_gets_sentences_in_its_own_words() -> None:
    model = prost.load("toybox")
    sentences = unrelated_sentences(model, 50)
    assert len(set(sentences)) == 50
    assert not [word for sentence in sentences for word in model.unknown_words(sentence)]
