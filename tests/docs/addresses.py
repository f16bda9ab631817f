"""Does each address that the documents link to answer? `make links` asks them."""

import urllib.request

import pytest

from tests.client import DEADLINE
from tests.markdown import DOCUMENTS, links

ADDRESSES = {
    link.partition("#")[0]
    for document in DOCUMENTS
    for link in links(document)
    if link.startswith("https://")
}


@pytest.mark.parametrize("address", sorted(ADDRESSES))
def test_an_address_answers(address: str) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "curl"})  # noqa: S310 -- https
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:  # noqa: S310 -- as above
        assert answer.status == 200
