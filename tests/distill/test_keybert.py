import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from derain.backends.interfaces import Identity
from derain.backends.keybert import CachingEncoder, KeyBertExtractor, WholeText
from derain.backends.minilm import MiniLmEncoder
from derain.distill.describe.description import description_of

TEXTS = [
    "A wet street at night, lit by lamps. Heavy rain falls in slanted streaks, and mist hangs over the road.",
    "Two people with an umbrella cross a road by day; drops of water on the lens bend the view of the trees.",
    "a photo of rain",
    "the of and",
    "",
]


@pytest.fixture(scope="module")
def encoder():
    return MiniLmEncoder()


@pytest.fixture(scope="module")
def extractor(encoder):
    return KeyBertExtractor(encoder)


@pytest.fixture(scope="module")
def keywords(extractor):
    return extractor.extract(TEXTS)


class LetterCounts:
    """A text encoder whose vectors are written out: how often each of the 26 letters occurs."""

    identity = Identity("letter-counts", "1")
    dimensions = 26

    def __init__(self):
        self.asked = []

    def encode_texts(self, texts):
        self.asked.append(list(texts))
        counts = np.array([[text.lower().count(chr(97 + letter)) for letter in range(26)] for text in texts], float)
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def slow_keywords(text, encoder, count=8, diversity=0.5):
    """Maximal marginal relevance as it is written: the best first, then each the best compromise with those chosen."""
    phrases = list(CountVectorizer(ngram_range=(1, 2), stop_words="english").fit([text]).get_feature_names_out())
    text_vector = encoder.encode_texts([text])[0].astype(float)
    vectors = dict(zip(phrases, encoder.encode_texts(phrases).astype(float), strict=True))
    relevance = {phrase: float(vectors[phrase] @ text_vector) for phrase in phrases}
    chosen = [max(phrases, key=lambda phrase: relevance[phrase])]
    while len(chosen) < min(count, len(phrases)):

        def marginal(phrase):
            nearest = max(float(vectors[phrase] @ vectors[other]) for other in chosen)
            return (1 - diversity) * relevance[phrase] - diversity * nearest

        chosen.append(max((phrase for phrase in phrases if phrase not in chosen), key=marginal))
    return tuple(sorted(chosen, key=lambda phrase: -round(relevance[phrase], 4)))


@pytest.mark.parametrize("text", TEXTS[:3])
def test_keywords_are_the_nearest_that_differ(extractor, encoder, text):
    assert extractor.extract([text]) == [slow_keywords(text, encoder)]


def test_keywords_are_at_most_eight_words_or_pairs_of_the_text(keywords):
    assert [len(found) for found in keywords] == [8, 8, 3, 0, 0]
    for text, found in zip(TEXTS, keywords, strict=True):
        words = text.lower().replace(",", " ").replace(".", " ").replace(";", " ").split()
        assert all(word in words for keyword in found for word in keyword.split())
        assert all(len(keyword.split()) <= 2 for keyword in found)
        assert len(set(found)) == len(found)


def test_keywords_say_what_the_text_is_about(keywords):
    assert any("rain" in keyword for keyword in keywords[0])
    assert any("umbrella" in keyword for keyword in keywords[1])


def test_keywords_do_not_depend_on_the_texts_beside_them(encoder, keywords):
    fresh = KeyBertExtractor(encoder)
    assert fresh.extract(TEXTS[::-1]) == keywords[::-1]
    assert fresh.extract(TEXTS) == keywords
    assert KeyBertExtractor(encoder).extract(TEXTS[1:2]) == keywords[1:2]


class Listening:
    """Another encoder, whose calls and vectors are noted."""

    def __init__(self, encoder):
        self.encoder, self.identity, self.dimensions = encoder, encoder.identity, encoder.dimensions
        self.calls, self.vectors = 0, {}

    def encode_texts(self, texts):
        self.calls += 1
        vectors = self.encoder.encode_texts(texts)
        self.vectors |= {text: vector.tobytes() for text, vector in zip(texts, vectors, strict=True)}
        return vectors


def test_texts_and_phrases_of_a_call_are_encoded_together_to_the_same_bits(encoder):
    together, apart = Listening(encoder), Listening(encoder)
    found = KeyBertExtractor(together).extract(TEXTS)
    alone = KeyBertExtractor(apart)
    assert found == [alone.extract([text])[0] for text in TEXTS]
    assert together.calls == 2, "texts, and phrases"
    assert apart.calls == 2 * len(TEXTS[:3])
    assert {text: together.vectors[text] for text in apart.vectors} == apart.vectors


def test_texts_without_a_word_are_no_trouble_together(extractor):
    assert extractor.extract(["of the", " ", "and"]) == [(), (), ()]
    assert extractor.extract([]) == []


def test_the_identity_holds_the_encoder(extractor):
    identity = extractor.identity
    assert identity.model == "keybert"
    assert identity.digest != KeyBertExtractor(LetterCounts()).identity.digest


def test_phrases_are_encoded_once():
    counts = LetterCounts()
    caching = CachingEncoder(counts, most=10)
    first = caching.encode(["rain", "night", "rain"])
    np.testing.assert_array_equal(first, LetterCounts().encode_texts(["rain", "night", "rain"]))
    np.testing.assert_array_equal(caching.encode(["night", "road"]), LetterCounts().encode_texts(["night", "road"]))
    assert counts.asked == [["rain", "night"], ["road"]]


def test_what_was_not_asked_for_long_is_forgotten():
    counts = LetterCounts()
    caching = CachingEncoder(counts, most=2)
    for texts in (["rain"], ["night"], ["rain"], ["road"], ["rain"], ["night"]):
        caching.encode(texts)
    assert counts.asked == [["rain"], ["night"], ["road"], ["night"]]
    assert caching.encode(["a", "b", "c"]).shape == (3, 26)
    assert caching.encode([]).shape == (0, 26)


def test_without_keywords_the_whole_text_is_the_description():
    whole = WholeText()
    assert whole.extract(TEXTS) == [()] * len(TEXTS)
    assert description_of((), TEXTS[0]) == TEXTS[0]
    assert description_of(("rain", "wet road"), TEXTS[0]) == "rain, wet road"
    assert whole.identity.digest != KeyBertExtractor(LetterCounts()).identity.digest
