"""Photographs on the page of references: turned, filtered and counted."""

import time
from dataclasses import replace

import pytest
from test_review_server import Shelf, entry

from derain.distill.knowledge.record import ReviewStatus
from derain.distill.review.references import UNKNOWN_TYPE, Catalogue, Filter
from derain.errors import DistillError
from derain.types import RainType


def test_paging_passes_over_none_although_those_judged_leave_the_filter():
    catalogue = Catalogue(Shelf([entry(number) for number in range(25)]))
    undecided = Filter(status="unreviewed")
    seen, page = [], catalogue.page(undecided, 10)
    while page.entries:
        seen += [each.digest for each in page.entries]
        for each in page.entries[::2]:
            catalogue.set_status(each.digest, ReviewStatus.ACCEPTED, "")
        page = catalogue.page(undecided, 10, after=seen[-1])
    assert seen == [entry(number).digest for number in range(25)]
    assert catalogue.page(undecided, 10).total == 12
    back = catalogue.page(Filter(), 10, until=entry(13).digest)
    assert [each.digest for each in back.entries] == [entry(number).digest for number in range(3, 13)]
    assert back.before == 3
    first = catalogue.page(Filter(), 10, until=entry(4).digest)
    assert (first.before, len(first.entries)) == (0, 10)


def test_a_hundred_thousand_photographs_are_turned_quickly():
    types = ["drs", "drd", "nrs", "nrd"]
    catalogue = Catalogue(Shelf([entry(number, rain_type=types[number % 4]) for number in range(100_000)]))
    began = time.process_time()
    page = catalogue.page(Filter("nrs", "unreviewed"), 60, after=entry(50_002).digest)
    assert (page.before, page.total) == (12_501, 25_000)
    assert page.entries[0].digest == entry(50_006).digest
    assert catalogue.counts()["types"] == dict.fromkeys(sorted(types), 25_000)
    assert time.process_time() - began < 2


def test_choices_are_counted_within_what_else_is_chosen():
    refused = [entry(number, ReviewStatus.FILTERED, "" if number < 12 else "nrs") for number in range(10, 15)]
    catalogue = Catalogue(Shelf([*(entry(number) for number in range(10)), *refused]))
    assert catalogue.counts()["types"] == {"drs": 10, "nrs": 3, UNKNOWN_TYPE: 2}
    assert catalogue.counts(Filter(status="filtered"))["types"] == {"drs": 0, "nrs": 3, UNKNOWN_TYPE: 2}
    assert catalogue.counts(Filter(type="nrs"))["statuses"] == {
        "unreviewed": 0,
        "accepted": 0,
        "rejected": 0,
        "filtered": 3,
    }
    unknown = catalogue.page(Filter(UNKNOWN_TYPE), 10)
    assert ([each.digest for each in unknown.entries], unknown.total) == ([each.digest for each in refused[:2]], 2)


def test_of_a_refused_photograph_it_is_told_how_to_have_it_measured_again():
    refused = replace(entry(1, ReviewStatus.FILTERED, ""), reason="blurred: sharpness 0.031, wanted 0.06 or more")
    catalogue = Catalogue(Shelf([refused]))
    wanted = (
        rf"sharpness 0\.031.*remove it \(derain distill base remove {refused.digest[:12]} .*"
        r"--status filtered --reason blurred.*, then index it again with other limits"
    )
    with pytest.raises(DistillError, match=wanted):
        catalogue.set_status(refused.digest, ReviewStatus.ACCEPTED, "")
    with pytest.raises(DistillError, match=wanted):
        catalogue.set_type(refused.digest, RainType.DRS)
