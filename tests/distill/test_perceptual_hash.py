"""The hash against a slow transform, and the search against comparing all with all."""

import io

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from derain.backends.view import View
from derain.distill.measure.perceptual_hash import (
    HashIndex,
    SeenHashes,
    cut_bits,
    dct_basis,
    hamming,
    hamming_many,
    near_pairs,
    parts_for,
    perceptual_hash,
)

WORDS = st.integers(0, 2**64 - 1)


@st.composite
def crowded(draw):
    """Hashes of which many lie close together."""
    centres = draw(st.lists(WORDS, min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=7)
    hashes = []
    for _ in range(draw(st.integers(0, 30))):
        value = draw(st.sampled_from(centres))
        for bit in draw(flips):
            value ^= 1 << bit
        hashes.append(value)
    return np.array(hashes, np.uint64)


def photo(name):
    return Image.fromarray(getattr(skimage.data, name)())


def hash_of(image):
    return perceptual_hash(View("", np.ascontiguousarray(np.asarray(image))))


def test_bits_are_the_signs_of_a_plain_cosine_transform():
    image = photo("chelsea")
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX), float)
    coefficients = []
    for v in range(8):
        for u in range(8):
            basis = [
                [np.cos(np.pi * (2 * y + 1) * v / 64) * np.cos(np.pi * (2 * x + 1) * u / 64) for x in range(32)]
                for y in range(32)
            ]
            coefficients.append(float((grey * np.array(basis)).sum()))
    median = np.median(coefficients[1:])
    assert hash_of(image) == int("".join("1" if value > median else "0" for value in coefficients), 2)


def test_the_basis_is_orthogonal():
    product = dct_basis(32) @ dct_basis(32).T
    assert np.allclose(product, np.diag([32.0] + [16.0] * 31))


def test_a_picture_keeps_its_hash_when_scaled_recompressed_and_brightened():
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        image = photo(name)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=25)
        changed = [
            image.resize((image.width // 2, image.height // 2)),
            Image.open(buffer),
            ImageEnhance.Brightness(image).enhance(0.8),
        ]
        for other in changed:
            assert hamming(hash_of(image), hash_of(other)) <= 4


def test_different_photographs_differ():
    hashes = [hash_of(photo(name)) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    first, second = np.triu_indices(4, 1)
    assert min(hamming(hashes[i], hashes[j]) for i, j in zip(first, second, strict=True)) > 15


def test_flat_pictures_hash_alike_at_every_size():
    assert {hash_of(Image.new("RGB", size, (9, 80, 200))) for size in [(1, 1), (32, 40), (501, 77)]} == {2**63}


@given(WORDS, WORDS)
def test_distance_counts_bits(a, b):
    plain = sum((a >> bit & 1) != (b >> bit & 1) for bit in range(64))
    assert hamming(a, b) == plain
    assert int(hamming_many(np.array([a], np.uint64), np.array([b], np.uint64))[0]) == plain


@given(crowded(), crowded(), st.integers(0, 14))
@settings(max_examples=60, deadline=None)
def test_the_search_finds_exactly_what_comparing_all_finds(hashes, queries, radius):
    plain = hamming_many(queries[:, None], hashes[None]) <= radius
    found = HashIndex(hashes, radius).within(queries)
    assert np.array_equal(np.stack(found), np.stack(np.nonzero(plain)))


@pytest.mark.parametrize("radius", [0, 3, 4, 6, 10])
def test_the_search_among_many_finds_all_pairs(radius):
    generator = np.random.default_rng(radius)
    hashes = generator.integers(0, 2**64, 3000, np.uint64, endpoint=False)
    hashes[1500:] = hashes[:1500]
    for _ in range(radius):
        hashes[1500:] ^= np.uint64(1) << generator.integers(0, 64, 1500, np.uint64)
    first, second = near_pairs(hashes, radius)
    near = np.triu(hamming_many(hashes[:, None], hashes[None]) <= radius, 1)
    assert len(first) >= 1500
    assert np.array_equal(np.stack([first, second]), np.stack(np.nonzero(near)))


def test_parts_cover_all_bits_once_and_grow_with_the_radius():
    for parts in range(1, 20):
        cuts = cut_bits(parts)
        assert [low for low, _ in cuts] == [sum(width for _, width in cuts[:i]) for i in range(parts)]
        assert sum(width for _, width in cuts) == 64
    assert parts_for(1_000_000, 0) == 1
    assert 1 < parts_for(1_000_000, 6) <= 7


def test_a_radius_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="0 to 63 bits, got 64"):
        HashIndex(np.empty(0, np.uint64), 64)


@given(crowded(), WORDS, st.integers(0, 10))
@settings(max_examples=40, deadline=None)
def test_the_nearest_seen_is_the_nearest(hashes, query, radius):
    seen = SeenHashes(radius)
    for row, value in enumerate(hashes.tolist()):
        seen.add(value, f"{(row * 7) % 31:02d}")
    for wanted in (query, *hashes.tolist()[:3]):
        plain = sorted((hamming(value, wanted), f"{(row * 7) % 31:02d}") for row, value in enumerate(hashes.tolist()))
        near = [(name, bits) for bits, name in plain if bits <= radius]
        assert seen.nearest(wanted) == (near[0] if near else None)


def test_what_was_seen_is_found_whether_sorted_yet_or_not():
    generator = np.random.default_rng(3)
    hashes = generator.integers(0, 2**64, 9000, np.uint64, endpoint=False).tolist()
    seen = SeenHashes(6)
    for row, value in enumerate(hashes):
        seen.add(value, str(row))
    assert len(seen) == 9000
    for row in (0, 1023, 1024, 4096, 4097, 8999):
        assert seen.nearest(hashes[row] ^ 0b101) == (str(row), 2)
