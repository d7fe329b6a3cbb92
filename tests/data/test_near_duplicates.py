"""The hash against a slow transform, and the search against comparing all with all."""

import io

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from derain.data import near_duplicates
from derain.data.near_duplicates import (
    NEAR_BITS,
    SeenHashes,
    connected,
    dct_basis,
    find_near,
    find_near_by_faiss,
    find_near_in_blocks,
    hamming,
    near_groups,
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
    return perceptual_hash(np.asarray(image))


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


def test_sixteen_bits_hash_as_eight():
    pixels = np.asarray(photo("coffee"))
    assert perceptual_hash(pixels.astype(np.uint16) * 257) == perceptual_hash(pixels)


def plain_distances(queries, hashes):
    return np.array([[(int(a) ^ int(b)).bit_count() for b in hashes] for a in queries], int).reshape(
        len(queries), len(hashes)
    )


@given(crowded(), crowded(), st.integers(0, 14))
@settings(max_examples=60, deadline=None)
def test_both_searches_find_exactly_what_comparing_all_finds(queries, hashes, radius):
    wanted = np.stack(np.nonzero(plain_distances(queries, hashes) <= radius))
    for search in (find_near, find_near_in_blocks, find_near_by_faiss):
        assert np.array_equal(np.stack(search(queries, hashes, radius)), wanted), search


@pytest.mark.parametrize("radius", [0, 3, 4, 6, 10])
def test_among_many_both_searches_find_the_same_pairs(radius):
    generator = np.random.default_rng(radius)
    hashes = generator.integers(0, 2**64, 3000, np.uint64, endpoint=False)
    hashes[1500:] = hashes[:1500]
    for _ in range(radius):
        hashes[1500:] ^= np.uint64(1) << generator.integers(0, 64, 1500, np.uint64)
    first, second = find_near_in_blocks(hashes, hashes, radius)
    assert {(n, n + 1500) for n in range(1500)} <= set(zip(first.tolist(), second.tolist(), strict=True))
    assert np.array_equal(np.stack(find_near_by_faiss(hashes, hashes, radius)), np.stack([first, second]))


def test_many_hashes_are_left_to_faiss_where_it_is_installed(monkeypatch):
    asked = []
    monkeypatch.setattr(near_duplicates, "COMPARED_IN_BLOCKS", 8)
    monkeypatch.setattr(near_duplicates, "find_near_by_faiss", lambda *given: asked.append(given))
    few, many = np.arange(2, dtype=np.uint64), np.arange(3, dtype=np.uint64)
    find_near(few, many, 1)
    assert not asked
    find_near(many, many, 1)
    assert len(asked) == 1
    monkeypatch.setattr(near_duplicates, "find_spec", lambda _name: None)
    assert len(find_near(many, many, 0)[0]) == 3
    assert len(asked) == 1


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_connected_rows_carry_the_smallest_of_them(given_pairs):
    count, pairs = given_pairs
    reach = np.eye(count, dtype=int)
    for a, b in pairs:
        reach[a, b] = reach[b, a] = 1
    reach = np.linalg.matrix_power(reach, count) > 0
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    assert connected(count, first, second).tolist() == [int(np.flatnonzero(row)[0]) for row in reach]


@given(crowded(), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_groups_are_the_connected_hashes(hashes, radius):
    first, second = np.nonzero(plain_distances(hashes, hashes) <= radius)
    assert near_groups(hashes, radius).tolist() == connected(len(hashes), first, second).tolist()


def test_how_many_copies_are_found_and_no_other_photograph():
    """18 pictures: six photographs and two parts of each, that do not overlap."""
    pictures = []
    for name in ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "rocket"):
        image = photo(name)
        width, height = image.size
        parts = [(0, 0, width // 2, height // 2), (width // 2, height // 2, width, height)]
        pictures += [image, *(image.crop(part) for part in parts)]
    hashes = [hash_of(image) for image in pictures]
    others = plain_distances(hashes, hashes)[np.triu_indices(len(hashes), 1)]
    assert others.min() > NEAR_BITS  # precision 1
    recall = {
        change.__name__: np.mean(
            [hamming(value, hash_of(change(image))) <= NEAR_BITS for value, image in zip(hashes, pictures, strict=True)]
        )
        for change in (reencoded, scaled_to_70_percent, cropped_by_2_percent, cropped_by_10_percent)
    }
    assert recall["reencoded"] == 1
    assert recall["scaled_to_70_percent"] == 1
    assert recall["cropped_by_2_percent"] >= 0.75
    assert recall["cropped_by_10_percent"] <= 0.1  # not what this hash is for


def reencoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


def scaled_to_70_percent(image):
    return image.resize((round(image.width * 0.7), round(image.height * 0.7)), Image.Resampling.LANCZOS)


def cropped_by_2_percent(image):
    return image.crop((0, 0, round(image.width * 0.98), round(image.height * 0.98)))


def cropped_by_10_percent(image):
    return image.crop((0, 0, round(image.width * 0.9), round(image.height * 0.9)))


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


def test_what_was_seen_is_found_however_many_there_are():
    generator = np.random.default_rng(3)
    hashes = generator.integers(0, 2**64, 3000, np.uint64, endpoint=False).tolist()
    seen = SeenHashes(6)
    for row, value in enumerate(hashes):
        seen.add(value, str(row))
    assert len(seen) == 3000
    for row in (0, 1023, 1024, 2047, 2048, 2999):
        assert seen.nearest(hashes[row] ^ 0b101) == (str(row), 2)
