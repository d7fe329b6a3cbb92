"""Addresses of model servers: what is taken for one, and secrets that do not belong in it."""

import pytest

from derain.backends.endpoint_settings import completions_url
from derain.errors import SettingsError


@pytest.mark.parametrize(
    ("given_url", "address"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1/chat/completions"),
        ("http://localhost:8000/", "http://localhost:8000/v1/chat/completions"),
        ("https://host/api/v1/", "https://host/api/v1/chat/completions"),
        ("https://host/v1/chat/completions", "https://host/v1/chat/completions"),
    ],
)
def test_addresses(given_url: str, address: str) -> None:
    assert completions_url(given_url) == address


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host/v1", "http://", "", "http://host:port/v1", "http://[::1"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(SettingsError, match="is no address"):
        completions_url(url)


@pytest.mark.parametrize("url", ["https://me:sk-1@host/v1", "https://sk-1@host/v1", "https://host/v1?key=sk-1"])
def test_secrets_in_addresses_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="key_variable") as caught:
        completions_url(url)
    assert "sk-1" not in str(caught.value)
